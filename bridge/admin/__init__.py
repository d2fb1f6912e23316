"""The HTTP door: health, metrics.

May import: ids, accounts, maildrop, telemetry.
"""
