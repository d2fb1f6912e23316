"""Everything that must be remembered, in Postgres through asyncpg. Satisfies the ports of accounts and maildrop.

May import: ids, mail, sasl, accounts, maildrop, telemetry.
"""
