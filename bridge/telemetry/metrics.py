"""Every metric of the product, declared once. No label holds a name, an address or anything else a client chooses."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_PREFIX = "pop3_bridge"
_QUICK_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LONG_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800)
_LAG_S = (1, 2, 5, 10, 30, 60, 300, 1_800, 7_200, 43_200, 172_800)
# What a client may make a label of; the rest is "other".
_VERBS = frozenset({
    "AUTH", "CAPA", "DELE", "LAST", "LIST", "NOOP", "PASS", "QUIT", "RETR", "RSET", "STAT", "STLS", "TOP", "UIDL",
    "USER",
})  # fmt: skip


class Metrics:
    """What this process counts, in a registry of its own: two of them in one process do not meet."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, namespace=_PREFIX, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, namespace=_PREFIX, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, text, labels, namespace=_PREFIX, registry=registry, buckets=buckets)

        # The door
        self.connections = counter("connections", "Connections by what became of them at the door", "outcome")
        self.open_sessions = gauge("open_sessions", "Sessions that are open now, logged in or not")
        self.session_ends = counter("session_ends", "Ended sessions by reason", "reason")
        self.session_duration = histogram("session_duration_seconds", "Time from accept to end", _LONG_S)
        self.commands = counter("commands", "Answered commands", "verb", "result")
        self.command_duration = histogram(
            "command_duration_seconds", "Time in the server for commands that need more than memory", _LONG_S, "verb"
        )
        self.logins = counter("logins", "Logins by outcome", "outcome")
        self.tls_handshakes = counter("tls_handshakes", "TLS handshakes by protocol version", "version")
        self.tls_handshake_failures = counter("tls_handshake_failures", "TLS handshakes that failed")
        self.certificate_expiry = gauge(
            "certificate_expiry_timestamp_seconds", "When the certificate in use ends, as Unix time"
        )
        self.certificate_reload_failures = counter(
            "certificate_reload_failures", "Changed certificate files that could not be used; the old pair stays"
        )
        self.unexpected_errors = counter("unexpected_errors", "Faults of this program; each is in the log", "place")

        # Mail
        self.message_octets_sent = counter("message_octets_sent", "Canonical octets sent by RETR and TOP")
        self.messages_retrieved = counter("messages_retrieved", "Messages sent whole by RETR")
        self.messages_removed = counter("messages_removed", "Messages removed by QUIT")
        self.octets_mismatches = counter(
            "octets_mismatches", "Messages that were not as long as announced, and were cut: must stay zero"
        )

        # Maildrops
        self.lease_conflicts = counter("lease_conflicts", "Logins that met another session's lease")
        self.lease_losses = counter("lease_losses", "Leases lost to another session while held")
        self.removals_due = gauge("removals_due", "Decided removals whose objects are still to be deleted")
        self.removals_oldest_age = gauge("removals_oldest_age_seconds", "Age of the oldest of them, 0 for none")
        self.sync_messages = counter("sync_messages", "What listings found, by what became of it", "result")
        self.sync_duration = histogram("sync_duration_seconds", "Time from the start of a listing to its end", _LONG_S)
        self.index_lag = histogram(
            "index_lag_seconds", "From an object's Last-Modified to its message being indexed", _LAG_S
        )

        # Stores
        self._store_calls = {
            store: counter(f"{store}_calls", f"Calls to {title}", "operation", "outcome")
            for store, title in (("s3", "S3"), ("postgres", "Postgres"))
        }
        self._store_durations = {
            store: histogram(f"{store}_call_duration_seconds", f"Time of calls to {title}", _QUICK_S, "operation")
            for store, title in (("s3", "S3"), ("postgres", "Postgres"))
        }

    def count_command(self, verb: str, count: int, *, ok: bool) -> None:
        """`count` commands of the verb were answered; a verb that is none of POP3's counts as "other"."""
        self.commands.labels(verb if verb in _VERBS else "other", "ok" if ok else "err").inc(count)

    def observe_s3(self, operation: str, outcome: str, seconds: float) -> None:
        """A call to S3 has ended."""
        self._observe("s3", operation, outcome, seconds)

    def observe_postgres(self, operation: str, outcome: str, seconds: float) -> None:
        """A call to Postgres has ended."""
        self._observe("postgres", operation, outcome, seconds)

    def count_sync(self, *, listed: int, added: int, vanished: int, held: int, unreadable: int) -> None:
        """What one listing came to."""
        results = {"listed": listed, "added": added, "vanished": vanished, "held": held, "unreadable": unreadable}
        for result, count in results.items():
            self.sync_messages.labels(result).inc(count)

    def _observe(self, store: str, operation: str, outcome: str, seconds: float) -> None:
        self._store_calls[store].labels(operation, outcome).inc()
        self._store_durations[store].labels(operation).observe(seconds)
