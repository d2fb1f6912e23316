"""A clock that only goes when told to: the time of the fakes, as the database's is that of the real stores."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """Grows by a microsecond each time, as no two moments of a real clock are equal."""
        self._now += timedelta(microseconds=1)
        return self._now

    def pass_time(self, duration_s: float) -> None:
        self._now += timedelta(seconds=duration_s)
