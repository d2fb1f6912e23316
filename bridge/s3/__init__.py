"""Messages as objects, in S3 through aioboto3. Satisfies the ports of maildrop.

May import: ids, maildrop, telemetry.
"""
