"""pop3-bridge: POP3 and POP3S for mail that lives in S3, with its memory in Postgres."""

__version__ = "0.1.0"
