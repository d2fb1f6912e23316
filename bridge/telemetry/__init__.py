"""Metrics and logs. Any impure room may import it; it imports nothing of ours."""
