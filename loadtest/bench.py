"""``python -m loadtest.bench``: the server's CPU microseconds per message, beside bare aiohttp in the same run.

All servers run at the same time as processes of their own and are loaded in turn, round by round, so that a noisy
neighbour meets them all. It checks what it measures: a wrong or lost message ends the run with exit code 1. It never
judges a time. Read ``run`` first.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec

from .bare import loop_factory
from .bench_socketio import AuricleSocketIo, SocketIo
from .bench_websocket import BenchFailed
from .dialects import BareText, SignalRJson, SignalRMessagePack
from .idle import BARE, HUB, HUB_MESSAGEPACK, Idle, Idler, measure_idle, require_files
from .measure import Measured, machine, one_round
from .report import IdleSample, Report, Settings, summarise, table
from .servers import auricle_server, auricle_token, bare_server, node_server, socketio_server
from .traffic import Load, Target

__all__ = ["main", "run", "within"]

IN_FLIGHT: Final = (1, 8)
EXIT_FAILED: Final = 1
Progress = Callable[[str], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: 0 measured, 1 failed, 2 unusable options."""
    options = _options(arguments)
    settings = Settings(
        rounds=options.rounds,
        connections=options.connections,
        seconds=options.seconds,
        warm_up_s=min(0.5, options.seconds / 4),
        text_chars=options.chars,
        fanout=options.fanout,
        idle=options.idle,
        node=options.node,
        socketio=options.socketio,
    )
    try:
        require_files(max(options.connections, options.fanout, options.idle))
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            report = runner.run(_bounded(settings, options.time_limit))
    except BenchFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return EXIT_FAILED
    except asyncio.CancelledError:
        print("bench: ended by a signal", file=sys.stderr)
        return EXIT_FAILED
    print(msgspec.json.encode(report).decode() if options.json else table(report))
    return 0


async def run(settings: Settings, progress: Progress) -> Report:
    """Start the servers, measure every round, end the servers. Raises BenchFailed."""
    samples = []
    with tempfile.TemporaryDirectory(prefix="auricle-bench-") as name:
        folder = Path(name)
        async with AsyncExitStack() as stack:
            measured = await _start_servers(stack, folder, settings)
            for number in range(settings.rounds):
                progress(f"round {number + 1} of {settings.rounds}")
                for load in _loads(settings):
                    samples += await one_round(measured, load, settings, number)
        idle = await _idle(folder, settings, progress) if settings.idle else []
    return Report(settings, machine(), summarise(samples), samples, idle)


async def _idle(folder: Path, settings: Settings, progress: Progress) -> list[IdleSample]:
    """New servers for each round: memory that a load has left behind would hide what a connection takes."""
    samples = []
    for number in range(settings.rounds):
        progress(f"round {number + 1} of {settings.rounds}, {settings.idle} idle connections")
        async with auricle_server(folder) as auricle, auricle_server(folder) as other, bare_server(folder) as bare:
            headers = {"Authorization": f"Bearer {await auricle_token(folder)}"}
            idlers = [
                Idler("auricle-json", auricle, HUB, headers),
                Idler("auricle-messagepack", other, HUB_MESSAGEPACK, headers),
                Idler("aiohttp", bare, BARE),
            ]
            for one in idlers if number % 2 == 0 else reversed(idlers):
                samples.append(await measure_idle(one, Idle(settings.idle), number))
    return samples


async def _bounded(settings: Settings, time_limit_s: float) -> Report:
    task = asyncio.current_task()
    assert task is not None
    # Ended from outside, the servers must still be ended from here.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with asyncio.timeout(time_limit_s):
            return await run(settings, lambda line: print(line, file=sys.stderr, flush=True))
    except TimeoutError:
        raise BenchFailed(f"not finished within the time limit of {time_limit_s:g} s") from None


async def _start_servers(stack: AsyncExitStack, folder: Path, settings: Settings) -> list[Measured]:
    auricle = await stack.enter_async_context(auricle_server(folder))
    bare = await stack.enter_async_context(bare_server(folder))
    token = await auricle_token(folder)
    headers = {"Authorization": f"Bearer {token}"}
    measured = [
        Measured(Target(SignalRJson(), auricle.url, headers), auricle),
        Measured(Target(SignalRMessagePack(), auricle.url, headers), auricle),
        Measured(Target(BareText(), bare.url), bare),
    ]
    if settings.socketio:
        plain = await stack.enter_async_context(socketio_server(folder))
        measured.append(Measured(Target(AuricleSocketIo(token), auricle.url), auricle))
        measured.append(Measured(Target(SocketIo("python-socketio"), plain.url), plain))
    if settings.node:
        peer = await stack.enter_async_context(await node_server(folder))
        measured.append(Measured(Target(SocketIo(), peer.url), peer))
    return measured


def _loads(settings: Settings) -> list[Load]:
    loads = [
        Load(workload, settings.connections, in_flight, settings.text_chars)
        for workload in ("echo", "relay")
        for in_flight in IN_FLIGHT
    ]
    if settings.fanout:
        loads.append(Load("fanout", settings.fanout, 1, settings.text_chars))
    return loads


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.bench",
        description="Print the server's CPU microseconds per echo, relayed message and delivery beside bare aiohttp.",
    )
    parser.add_argument("--rounds", type=within(int, 1, 50), default=5, help="rounds, all servers in each (default 5)")
    parser.add_argument(
        "--connections", type=within(int, 2, 2_000, even=True), default=50, help="an even number (default 50)"
    )
    # A client that only listens counts as gone after 30 s of silence.
    parser.add_argument("--seconds", type=within(float, 0.05, 20), default=2.0, help="of each window (default 2)")
    parser.add_argument("--chars", type=within(int, 24, 16_384), default=100, help="of each text (default 100)")
    parser.add_argument(
        "--fanout", type=within(int, 0, 2_000), default=1_000, metavar="N", help="receivers, 0 is off (default 1000)"
    )
    parser.add_argument(
        "--idle",
        type=within(int, 0, 19_000),
        default=10_000,
        metavar="N",
        help="idle connections, 0 is off (default 10000)",
    )
    parser.add_argument(
        "--socketio", action="store_true", help="Auricle over Socket.IO too, beside python-socketio's plain server"
    )
    parser.add_argument("--node", action="store_true", help="Socket.IO on Node too, which npm installs")
    parser.add_argument(
        "--time-limit",
        type=within(float, 1, 7_200),
        default=1_800.0,
        metavar="S",
        help="of the whole run (default 1800)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object with every round")
    return parser.parse_args(arguments)


def within(
    kind: type[int] | type[float], lowest: float, highest: float, *, even: bool = False
) -> Callable[[str], float]:
    """A type for argparse: a number within bounds."""

    def parse(text: str) -> float:
        value = kind(text)
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"must be {lowest:g} to {highest:g}")
        if even and value % 2:
            raise argparse.ArgumentTypeError("must be even")
        return value

    parse.__name__ = "number"  # argparse names it when the text is no number at all
    return parse


if __name__ == "__main__":
    sys.exit(main())
