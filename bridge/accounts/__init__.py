"""Who may log in: accounts, password checking, provisioning.

May import: ids, sasl, telemetry. Its ports are satisfied by the rooms postgres and directory.
"""
