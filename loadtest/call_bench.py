"""``python -m loadtest.call_bench``: how long it takes to be in a call, and what signalling of many at once costs.

One server process. First a pair rings, answers and decodes sound again and again, with aiortc at both ends on
loopback; then calls are set up at a steady rate with nothing but what is signalled, whatever the server does. A call
that does not come about fails the run; a slow one never does. Read ``run`` first.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import aiohttp
import msgspec

from .bare import loop_factory
from .bench import within
from .bench_websocket import BenchFailed
from .call_pairs import Pair
from .call_sides import Heard, Signalling, Sounding
from .dev_tokens import find_key
from .live_sessions import together
from .servers import ServerProcess
from .submit_report import Quantiles

__all__ = ["CallSettings", "Result", "main", "run", "table"]

T = TypeVar("T")
EXIT_FAILED: Final = 1


@dataclass(frozen=True, slots=True)
class CallSettings:
    """``calls`` with sound, one after the other. ``rate`` set-ups a second over ``pairs``, for ``seconds``."""

    calls: int
    rate: float
    pairs: int
    seconds: float
    warm_up_s: float


class Sound(msgspec.Struct, frozen=True, rename="camel"):
    """From ``StartCall`` to its answer, to the first decoded sound at one end, and at both."""

    answered: Quantiles
    first: Quantiles
    both: Quantiles


class Signals(msgspec.Struct, frozen=True, rename="camel"):
    """From ``StartCall`` to the answer to the offer. ``late``: set-ups that were due while the pair was still busy.

    ``server_ms`` is CPU time of the server for each, from ring to end, ``server_busy`` the share of one core in use.
    """

    rate: float
    done_per_s: float
    late: int
    set_up: Quantiles
    server_ms: float
    server_busy: float
    generator_ms: float


class Result(msgspec.Struct, frozen=True, rename="camel"):
    """None for what was not asked for."""

    sound: Sound | None
    signals: Signals | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: 0 measured, 1 failed, 2 unusable options."""
    options = _options(arguments)
    settings = CallSettings(options.calls, options.rate, options.pairs, options.seconds, min(3.0, options.seconds / 2))
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            result = runner.run(_bounded(settings, options.time_limit))
    except BenchFailed as error:
        print(f"call_bench: {error}", file=sys.stderr)
        return EXIT_FAILED
    except asyncio.CancelledError:
        print("call_bench: ended by a signal", file=sys.stderr)
        return EXIT_FAILED
    print(msgspec.json.encode(result).decode() if options.json else table(result))
    return 0


async def run(settings: CallSettings) -> Result:
    """Start a server, measure, end it. Raises BenchFailed."""
    with tempfile.TemporaryDirectory(prefix="auricle-calls-") as name:
        folder = Path(name)
        serve = ("-m", "signaling", "serve", "--dev", "--port", "0", "--data", str(folder))
        environ = {"AURICLE_DEV_SIGNING_KEY": "", "AURICLE_DATABASE_URL": "", "AURICLE_REDIS_URL": ""}
        async with ServerProcess("auricle", serve, folder, environ=environ) as server:
            key = find_key({}, folder / "dev-signing-key")
            sound = await _sound(settings, server, key) if settings.calls else None
            signals = await _signals(settings, server, key) if settings.rate else None
    return Result(sound, signals)


async def _sound(settings: CallSettings, server: ServerProcess, key: bytes) -> Sound:
    heard: list[Heard] = []
    async with aiohttp.ClientSession() as http, AsyncExitStack() as stack:
        pair = Pair("sound", server.url, key)
        await pair.schedule(http)
        sounding = Sounding(pair)
        stack.push_async_callback(pair.close)
        await pair.join()
        # The first one loads what all the others find there.
        for _ in range(settings.calls + 1):
            heard.append(await _in_time(sounding.set_up()))
    _, *counted = heard
    return Sound(
        Quantiles.of([one.answer_s for one in counted]),
        Quantiles.of([one.first_s for one in counted]),
        Quantiles.of([one.both_s for one in counted]),
    )


async def _signals(settings: CallSettings, server: ServerProcess, key: bytes) -> Signals:
    took_s: list[float] = []
    late = 0
    async with aiohttp.ClientSession() as http, AsyncExitStack() as stack, together() as tasks:
        free = [await _opened(pair, http, stack) for pair in _pairs(settings, server, key)]
        began_s, cpu_s, own_s = time.perf_counter(), server.cpu_s, time.process_time()
        due_s, until_s = began_s, began_s + settings.warm_up_s + settings.seconds
        is_warm = False

        async def one(pair: Signalling) -> None:
            took_s.append(await _in_time(pair.set_up()))
            free.append(pair)

        while (now_s := time.perf_counter()) < until_s:
            if not is_warm and now_s >= began_s + settings.warm_up_s:
                is_warm, late = True, 0
                took_s.clear()
                began_s, cpu_s, own_s = now_s, server.cpu_s, time.process_time()
            if free:
                tasks.create_task(one(free.pop(0)))
            else:
                late += 1
            due_s += 1 / settings.rate
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        wall_s, count = time.perf_counter() - began_s, len(took_s)
        cpu_s, own_s = server.cpu_s - cpu_s, time.process_time() - own_s
    if not count:
        raise BenchFailed("not one call was set up")
    each_ms = 1_000 / count
    return Signals(
        rate=settings.rate,
        done_per_s=count / wall_s,
        late=late,
        set_up=Quantiles.of(took_s),
        server_ms=cpu_s * each_ms,
        server_busy=cpu_s / wall_s,
        generator_ms=own_s * each_ms,
    )


def _pairs(settings: CallSettings, server: ServerProcess, key: bytes) -> list[Pair]:
    return [Pair(f"pair-{number}", server.url, key) for number in range(settings.pairs)]


async def _opened(pair: Pair, http: aiohttp.ClientSession, stack: AsyncExitStack) -> Signalling:
    await pair.schedule(http)
    signalling = Signalling(pair)
    stack.push_async_callback(pair.close)
    await pair.join()
    return signalling


async def _in_time(work: Awaitable[T]) -> T:
    try:
        return await work
    except TimeoutError:
        raise BenchFailed("a call did not come about") from None


def table(result: Result) -> str:
    """For people."""
    lines = []
    if result.sound is not None:
        for name, found in (
            ("StartCall answered", result.sound.answered),
            ("first decoded sound", result.sound.first),
            ("decoded at both ends", result.sound.both),
        ):
            lines.append(_row(name, found))
    if result.signals is not None:
        signals = result.signals
        lines.append(_row("signalling of a set-up", signals.set_up))
        lines.append(
            f"{signals.done_per_s:.0f} of {signals.rate:g} set-ups a second, {signals.late} late; "
            f"server CPU {signals.server_ms:.2f} ms each, {signals.server_busy:.2f} of a core; "
            f"generator {signals.generator_ms:.2f} ms each"
        )
    return "\n".join(lines)


def _row(name: str, found: Quantiles) -> str:
    times = (("p50", found.p50_ms), ("p99", found.p99_ms), ("mean", found.mean_ms))
    return f"{name:<24}" + "".join(f"{what} {value:7.1f} ms   " for what, value in times) + f"of {found.count}"


async def _bounded(settings: CallSettings, time_limit_s: float) -> Result:
    task = asyncio.current_task()
    assert task is not None
    # Ended from outside, the server must still be ended from here.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with asyncio.timeout(time_limit_s):
            return await run(settings)
    except TimeoutError:
        raise BenchFailed(f"not finished within the time limit of {time_limit_s:g} s") from None


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.call_bench",
        description="Time calls from StartCall to decoded sound, and the signalling of many at a steady rate.",
    )
    parser.add_argument("--calls", type=within(int, 0, 1_000), default=40, help="with sound, 0: none (default 40)")
    parser.add_argument(
        "--rate",
        type=within(float, 0, 1_000),
        default=100.0,
        metavar="R",
        help="set-ups a second, 0: none (default 100)",
    )
    parser.add_argument("--pairs", type=within(int, 1, 2_000), default=100, metavar="N", help="(default 100)")
    parser.add_argument("--seconds", type=within(float, 0.2, 600), default=20.0, help="measured (default 20)")
    parser.add_argument(
        "--time-limit", type=within(float, 1, 7_200), default=240.0, metavar="S", help="of the whole run (default 240)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
