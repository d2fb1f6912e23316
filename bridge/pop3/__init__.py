"""The POP3 protocol as a state machine (RFC 1939, 2449, 2595, 3206, 5034). Pure: octets in, octets and events out.

May import: sasl.
"""
