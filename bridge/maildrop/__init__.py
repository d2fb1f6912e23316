"""The maildrop: opening it, reading it, changing it, keeping it in step with S3.

May import: ids, mail, telemetry. Its ports are satisfied by the rooms postgres and s3.
"""
