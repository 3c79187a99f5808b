"""The command says what it can and cannot do before it starts anything."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.chaos.__main__ import EXIT, USAGE, interruptible, main
from tests.chaos.runner import Result


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--pods", "2"], "--database postgres"),
        (["--pods", "4", "--database", "postgres"], "invalid choice"),
        (["--client", "carrier pigeon"], "invalid choice"),
        (["--profile", "huge"], "invalid choice"),
        (["--database", "oracle"], "invalid choice"),
        (["--seed", "one"], "invalid int"),
        (["--only", "1,x"], "numbers"),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_reason(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == USAGE
    assert why in capsys.readouterr().err


def test_help_tells_the_exit_codes_and_how_to_replay(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "exit codes: 0" in told
    assert "replayed by its seed" in told


def test_a_cancellation_that_nobody_asked_for_is_not_called_an_interruption() -> None:
    async def lost() -> Result:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(interruptible(lost()))


@pytest.mark.parametrize("word", [signal.SIGTERM, signal.SIGINT])
async def test_an_interrupted_run_leaves_no_process_behind(word: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.chaos", stderr=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stderr is not None
        assert b"are up" in await process.stderr.readline()
        assert len(of_session(process.pid)) > 1
        process.send_signal(word)
        assert b"interrupted" in await process.stderr.read()
        assert await process.wait() == EXIT["invalid"]
        assert of_session(process.pid) == []
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def of_session(leader: int) -> list[int]:
    """The processes of a session that live."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if os.getsid(int(entry.name)) == leader:
                found.append(int(entry.name))
    return found
