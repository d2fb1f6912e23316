"""The POP3 and POP3S door: sockets, TLS, PROXY headers, and the driver of each session.

May import: ids, pop3, sasl, accounts, maildrop, telemetry.
"""
