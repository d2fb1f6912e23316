"""Hashers of the tests: quick, counting, and stoppable."""

import threading


class CountingHasher:
    """A verifier is `hashed:PASSWORD`. Counts its work, whether it derives or compares."""

    def __init__(self) -> None:
        self.work_count = 0
        self.threads: set[int] = set()

    def derive(self, password: str) -> str:
        self._work()
        return f"hashed:{password}"

    def matches(self, password: str, verifier: str) -> bool:
        self._work()
        return verifier == f"hashed:{password}"

    def _work(self) -> None:
        self.work_count += 1
        self.threads.add(threading.get_ident())


class GatedHasher(CountingHasher):
    """Works only once `gate` is set; says how many work at once."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._inside_count = 0
        self.most_inside_count = 0

    def _work(self) -> None:
        with self._lock:
            self._inside_count += 1
            self.most_inside_count = max(self.most_inside_count, self._inside_count)
        self.entered.release()
        if not self.gate.wait(timeout=30):
            raise AssertionError("the gate was never opened")
        with self._lock:
            self._inside_count -= 1
            super()._work()
