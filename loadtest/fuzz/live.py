"""The same inputs against a server process over loopback: it stays alive, answers, forgets, and logs no surprise.

Hub bytes inside valid frames, frames with faults, and garbage behind the upgrade. It sends to the server that it has
started itself and to nobody else. Read ``fuzz_server`` first.
"""

import asyncio
import json
import random
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from loadtest.bench_websocket import BenchFailed, Opcode, client_frame, connect, upgrade_request
from loadtest.dialects import HANDSHAKE_ACCEPTED, SignalRJson
from loadtest.servers import ServerProcess, auricle_server, auricle_token

from .frame_input import FrameInput
from .hub_input import HubInput
from .steps import chunks, damage

__all__ = ["LiveOutcome", "fuzz_server", "surprise"]

AT_ONCE: Final = 16
WARM_UP: Final = 400
MAX_GROWTH_BYTES: Final = 20 * 2**20
MAX_READ_BYTES: Final = 1 << 20
STEPS: Final = 12
LISTEN_S: Final = 0.05
PROBE_S: Final = 10.0
MAX_MESSAGE_BYTES: Final = 32_768


class LiveOutcome(msgspec.Struct, frozen=True, rename="camel"):
    """What a run did to the server; ``failure`` is empty when it stood it."""

    connections: int
    probes: int
    grown_kib: int
    failure: str = ""


async def fuzz_server(seed: str, seconds: float) -> LiveOutcome:
    """Attack a server of our own for so long. Raises BenchFailed when it ends, or does not answer."""
    with tempfile.TemporaryDirectory(prefix="auricle-fuzz-") as name:
        folder = Path(name)
        async with auricle_server(folder) as server:
            headers = {"Authorization": f"Bearer {await auricle_token(folder)}"}
            outcome = await _attack(server, headers, seed, seconds)
        logged = surprise((folder / "auricle.log").read_text(errors="replace"))
        return msgspec.structs.replace(outcome, failure=outcome.failure or logged)


async def _attack(server: ServerProcess, headers: dict[str, str], seed: str, seconds: float) -> LiveOutcome:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    number = probes = 0
    rss_at_first = grown = 0
    while loop.time() < until:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(_visit(server.url, headers, random.Random(f"{seed}:live:{number}")))
                number += 1
        await _probe(server.url, headers, f"probe {number}")
        probes += 1
        if number >= WARM_UP:
            rss_at_first = rss_at_first or server.rss_bytes
            grown = server.rss_bytes - rss_at_first
            if grown > MAX_GROWTH_BYTES:
                return LiveOutcome(number, probes, grown // 1_024, f"the server has grown by {grown} bytes")
    return LiveOutcome(number, probes, grown // 1_024)


async def _visit(url: str, headers: dict[str, str], rng: random.Random) -> None:
    """One connection, from its upgrade to an end of either side."""
    host, port, request = upgrade_request(url + "/hubs/conformance", headers)
    reader, writer = await asyncio.open_connection(host, port)
    try:
        # Whatever is sent may be answered by the end of the connection, which shutting it down half may notice first.
        with suppress(OSError):
            for chunk in chunks(request + _words(rng), rng):
                writer.write(chunk)
                await writer.drain()
            if rng.random() < 0.3:
                writer.write_eof()
            with suppress(TimeoutError):
                async with asyncio.timeout(LISTEN_S):
                    await reader.readexactly(MAX_READ_BYTES)
    except asyncio.IncompleteReadError:
        pass
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


def _words(rng: random.Random) -> bytes:
    """Behind the upgrade: garbage, frames of any kind, or a hub connection that goes wrong at some point."""
    chance = rng.random()
    if chance < 0.1:
        return rng.randbytes(rng.randrange(2_000))
    if chance < 0.3:
        frames = FrameInput(rng)
        return b"".join(frames.step().data for _ in range(STEPS))
    binary = rng.random() < 0.5
    hub = HubInput("messagepack" if binary else "json", rng, max_message_bytes=MAX_MESSAGE_BYTES)
    hello = f'{{"protocol":"{"messagepack" if binary else "json"}","version":1}}\x1e'.encode()
    if rng.random() < 0.05:
        hello = damage(hello, rng)
    parts = [client_frame(Opcode.TEXT, hello)] if hello.isascii() else [client_frame(Opcode.BINARY, hello)]
    for _ in range(rng.randint(1, STEPS)):
        data = hub.step().data
        parts.append(client_frame(Opcode.BINARY if binary or not data.isascii() else Opcode.TEXT, data))
    return b"".join(parts)


async def _probe(url: str, headers: dict[str, str], text: str) -> None:
    """Somebody who does nothing wrong is served."""
    dialect = SignalRJson()
    try:
        async with asyncio.timeout(PROBE_S):
            socket = await connect(url + "/hubs/conformance", headers)
            try:
                for frame, expected in dialect.greetings(""):
                    if await socket.exchange(frame) != (expected or HANDSHAKE_ACCEPTED):
                        raise BenchFailed("the probe was not greeted")
                frame, answer = dialect.echo(1, text)
                if list(dialect.answers(await socket.exchange(frame))) != [answer]:
                    raise BenchFailed("the probe got another answer than its own")
            finally:
                await socket.close()
    except TimeoutError:
        raise BenchFailed(f"the probe got no answer within {PROBE_S:g} s") from None


def surprise(log: str) -> str:
    """The first error that the server logged; its own check of a crash is none."""
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            return f"the server wrote {line[:200]!r}"
        if entry.get("level") == "error" and entry.get("method") != "Crash":
            return f"the server logged {line[:300]}"
    return ""
