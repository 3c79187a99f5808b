"""``python -m clients.demo``: play the script, print it, and exit 0 only if every check held.

Exit 1: a check did not hold, or a scene could not go on. Exit 2: the input cannot be used. Read ``main``
first, then ``play`` for the order of the scenes.
"""

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from clients.demo.acs_scene import over_acs
from clients.demo.acs_service import AcsService
from clients.demo.arguments import BadInput, DemoOptions, parse
from clients.demo.asleep_scene import asleep
from clients.demo.bad_link_scene import bad_link
from clients.demo.cable_scene import pulled_cable
from clients.demo.closing import closing_table
from clients.demo.delivering import DemoFailed
from clients.demo.fitting_scene import attach, first_fit, live_change, refused_change
from clients.demo.history_scene import history
from clients.demo.keeping import not_kept, reverted, saved
from clients.demo.kill_scenes import killed_phone, killed_server
from clients.demo.printer import JsonPrinter, Printer, TextPrinter
from clients.demo.push_service import PushService
from clients.demo.server_process import ServerFailed, ServerProcess
from clients.demo.stage import SHORTENED, Stage, staged
from clients.demo.visit_scene import RELAYING, met, talked, talked_through_server, visit_over
from clients.hub_errors import HubCallError
from protocol.errors import AuricleError

__all__ = ["main"]

_WHOLE_DEMO_S: Final = 300.0
_SHORTENED: Final = (
    "two waits of this server are shortened: live work ends after 1 s of a slow link, not 10, and the wearer of a "
    "package is asked after 1 s, not 3 days"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code."""
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
    except BadInput as error:
        print(f"auricle demo: {error}", file=sys.stderr)
        return 2
    printer: Printer = JsonPrinter(time.monotonic) if options.json else TextPrinter(time.monotonic)
    try:
        return asyncio.run(_demo(options, printer))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("auricle demo: interrupted", file=sys.stderr)
        return 130


async def _demo(options: DemoOptions, printer: Printer) -> int:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  # asyncio.run made it
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="auricle-demo-") as folder:
        async with AsyncExitStack() as stack:
            pushes = await stack.enter_async_context(PushService())
            settings, acs = {**pushes.settings, **SHORTENED, **RELAYING}, None
            if options.backend == "acs":
                acs = await stack.enter_async_context(AcsService(Path(folder)))
                settings |= acs.settings
            server = ServerProcess(Path(folder), settings=settings)
            failed = await _play_guarded(options, printer, server, pushes, acs)
        if failed:
            print(server.log_tail(), file=sys.stderr)
        printer.tell(
            "result",
            "all checks held" if not failed else "FAILED: " + "; ".join(failed),
            ok=not failed,
            failed=failed,
        )
    return 1 if failed else 0


async def _play_guarded(
    options: DemoOptions, printer: Printer, server: ServerProcess, pushes: PushService, acs: AcsService | None
) -> list[str]:
    """The names of what failed; an error of a part is a failure with a name, not a traceback."""
    failed: list[str] = []
    try:
        async with asyncio.timeout(_WHOLE_DEMO_S), server:
            printer.tell("server_ready", f"server ready at {server.url}", url=server.url)
            printer.tell("shortened", _SHORTENED, settings=SHORTENED)
            async with staged(options, printer, server, pushes) as stage:
                failed = await play(stage, acs)
    except* (DemoFailed, ServerFailed, HubCallError, AuricleError, ConnectionError, TimeoutError) as group:
        failed = [f"{type(error).__name__}: {error}" for error in _leaves(group)]
    return failed


async def play(stage: Stage, acs: AcsService | None = None) -> list[str]:
    """The scenes in order; what failed."""
    await attach(stage)
    fit = await first_fit(stage)
    meeting = await met(stage)
    await talked(stage, meeting, lambda: _fitting(stage))
    await talked_through_server(stage, meeting)
    await visit_over(stage, meeting)
    base = await bad_link(stage)
    await asleep(stage)
    await reverted(stage, base)
    await not_kept(stage, base)
    await live_change(stage, 20)
    if acs is not None:
        await over_acs(stage, acs)
    await pulled_cable(stage)
    await killed_server(stage)
    wanted = await killed_phone(stage)
    await history(stage)
    await closing_table(stage, fit, wanted)
    stage.printer.tell("checks", f"{stage.checks.held} checks held", held=stage.checks.held)
    return stage.checks.failed if stage.checks.held else ["no check ran"]


async def _fitting(stage: Stage) -> None:
    """What is done while they talk."""
    await live_change(stage, -30, -20)
    await refused_change(stage)
    await saved(stage)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _leaves(part)]
    return [error]


if __name__ == "__main__":
    sys.exit(main())
