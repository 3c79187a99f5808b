"""The short run: what is generated from the server's own document finds nothing wrong with it."""

from pathlib import Path

import pytest

from tests.rest_fuzz.runner import Effort, fuzz
from tests.rest_fuzz.stage import live_through
from tests.running import server


@pytest.mark.timeout(120)
async def test_nothing_is_found_wrong_with_the_rest_surface(tmp_path: Path) -> None:
    async with server(tmp_path) as running:
        outcome = await fuzz(running, await live_through(running), Effort(examples=15, seconds=60))
        assert outcome.code == 0, outcome.output
        assert "request_crashed" not in running.log_text
