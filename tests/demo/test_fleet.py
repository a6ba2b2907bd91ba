import asyncio

import pytest
from tests.demo.small_demo import SCALE, Watched

from triskele.demo.fleet import fleet


def test_a_worker_that_does_not_start_is_told_with_its_log(tmp_path):
    """There is no checkpoint to serve; that running fleets work is for the whole circle to show."""

    async def run():
        missing = {"code": tmp_path / "none"}
        async with fleet(missing, tmp_path, tmp_path, SCALE.hardware, seed=0, watcher=Watched()):
            raise AssertionError("nothing is served")

    with pytest.raises(ValueError, match=r"did not start; see .*code-0\.log"):
        asyncio.run(run())
    assert "none" in (tmp_path / "logs" / "code-0.log").read_text()
