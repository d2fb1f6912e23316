from collections.abc import Iterator

import pytest

from tests.cli.rig import Rig


@pytest.fixture
def rig(capsys: pytest.CaptureFixture[str]) -> Iterator[Rig]:
    rig = Rig(capsys)
    yield rig
    rig.passwords.close()
