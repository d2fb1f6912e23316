"""`pop3-bridge dev`: the whole service on one machine, with an embedded Postgres and S3 server (extra: dev).

May import: compose, settings, telemetry, and whatever a command line may.
"""
