"""What is true of a message's bytes, whatever serves it. Pure: no I/O, no clock.

May import nothing of ours.
"""
