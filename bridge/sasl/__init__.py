"""Authentication exchanges, the server's side (RFC 4422, RFC 5034). Pure: no I/O, no clock, no random numbers.

May import nothing of ours.
"""
