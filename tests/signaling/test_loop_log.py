"""What the event loop has to say is a line like others, and quotes nobody."""

import asyncio
import io
import json
import logging
from collections.abc import Callable

import pytest

from signaling.log import LogBook, LoopLog
from signaling.server import _loop_factory

SECRET = "the text of an error may quote a token"


def fails() -> None:
    raise ValueError(SECRET)


@pytest.mark.parametrize("loop_factory", [_loop_factory(), asyncio.SelectorEventLoop], ids=["ours", "plain"])
def test_an_error_that_nobody_caught_is_told_by_its_class_and_place(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(fails)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    stream = io.StringIO()
    with LoopLog(LogBook(stream)).taken(), asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["event"], line["level"], line["error"]) == ("loop_complained", "error", "ValueError")
    assert line["place"].startswith("fails:")
    assert SECRET not in stream.getvalue()
    assert capsys.readouterr() == ("", "")


def test_so_is_a_warning_and_nothing_less_while_the_server_runs() -> None:
    stream, logger = io.StringIO(), logging.getLogger("asyncio")
    with LoopLog(LogBook(stream)).taken():
        logger.warning("about %s", SECRET)
        logger.info("about %s", SECRET)
    logger.warning("afterwards")
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert line["event"] == "loop_complained"
    assert SECRET not in stream.getvalue()
