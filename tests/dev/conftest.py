import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """Reachable by every user, as pytest's own temporary folders are not."""
    parent = Path(tempfile.mkdtemp(prefix="bridge-"))
    parent.chmod(0o755)
    yield parent / "state"
    shutil.rmtree(parent)
