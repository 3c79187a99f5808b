"""``python -m loadtest.relay_pods``: what it costs two pods together to pass a message on over a real Valkey, and back.

Clients in pairs: one on pod A, its partner on pod B. One sends a text to the group of the other, who answers with as
much; both pods' CPU time is divided by the messages that arrived. Beside it, in the same rounds over the same Valkey,
python-socketio with its Redis manager, and Socket.IO on Node with its Redis adapter. A message that is wrong, doubled
or lost ends the run with exit code 1; no time is ever judged. Read ``run`` first.
"""

import argparse
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from .bench import Progress, within
from .bench_socketio import SocketIo
from .bounded import bounded
from .dialects import Dialect, SignalRJson, SignalRMessagePack
from .idle import require_files
from .measure import Measured, machine, one_round
from .relay_report import PYTHON, RelayReport, rows, table
from .report import Settings
from .servers import ServerProcess, auricle_server, auricle_token, node_server
from .traffic import ROUND_TRIP, Load, Target
from .valkey_process import ValkeyProcess, valkey_process

__all__ = ["main", "run"]

EXIT_FAILED: Final = 1
# The bus of a server learns of a group after its member does.
SETTLE_S: Final = 1.0
# Of one connection per server and test, and what npm needs.
_SPARE_CONNECTIONS: Final = 100


@dataclass(frozen=True, slots=True)
class _Pods:
    """Two servers as one."""

    first: ServerProcess
    second: ServerProcess

    @property
    def cpu_s(self) -> float:
        """Of both together."""
        return self.first.cpu_s + self.second.cpu_s


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: 0 measured, 1 failed, 2 unusable options."""
    options = _options(arguments)
    settings = Settings(
        rounds=options.rounds,
        connections=2 * options.pairs,
        seconds=options.seconds,
        warm_up_s=min(0.5, options.seconds / 4),
        text_chars=options.chars,
        fanout=0,
        node=options.node,
    )

    async def work() -> RelayReport:
        require_files(settings.connections + _SPARE_CONNECTIONS)
        return await run(settings, lambda line: print(line, file=sys.stderr, flush=True))

    report = bounded("relay_pods", work, options.time_limit)
    if report is None:
        return EXIT_FAILED
    print(msgspec.json.encode(report).decode() if options.json else table(report))
    return 0


async def run(settings: Settings, progress: Progress) -> RelayReport:
    """Start Valkey and two pods of each server, measure every round, end them. Raises BenchFailed."""
    load = Load(ROUND_TRIP, settings.connections, 1, settings.text_chars)
    samples = []
    with tempfile.TemporaryDirectory(prefix="auricle-relay-") as name:
        async with AsyncExitStack() as stack:
            valkey = await stack.enter_async_context(valkey_process())
            measured = await _start_servers(stack, Path(name), valkey, node=settings.node)
            for number in range(settings.rounds):
                progress(f"round {number + 1} of {settings.rounds}")
                samples += await one_round(measured, load, settings, number)
    return RelayReport(settings, machine(), rows(samples), samples)


async def _start_servers(stack: AsyncExitStack, folder: Path, valkey: ValkeyProcess, *, node: bool) -> list[Measured]:
    auricle, token = await stack.enter_async_context(_auricle_pods(folder, valkey))
    headers = {"Authorization": f"Bearer {token}"}
    peer = {"PEER_REDIS_URL": valkey.url}
    python = ("-m", "loadtest.socketio_python")
    measured = [
        _measured(SignalRJson(), auricle, valkey, headers),
        _measured(SignalRMessagePack(), auricle, valkey, headers),
        _measured(
            SocketIo(PYTHON),
            await _both(stack, [ServerProcess(f"{PYTHON}-{pod}", python, folder, environ=peer) for pod in "ab"]),
            valkey,
        ),
    ]
    if node:
        dialect = SocketIo()
        servers = [await node_server(folder, f"{dialect.name}-{pod}", peer) for pod in "ab"]
        measured.append(_measured(dialect, await _both(stack, servers), valkey))
    return measured


@asynccontextmanager
async def _auricle_pods(folder: Path, valkey: ValkeyProcess) -> AsyncIterator[tuple[_Pods, str]]:
    """Two pods with one key on one bus, and a token that both take."""
    environ = {
        "AURICLE_REDIS_URL": valkey.url,
        "AURICLE_DEV_SIGNING_KEY": secrets.token_hex(32),
        # Relayed messages touch no store.
        "AURICLE_DATABASE_URL": "memory:",
        # Nobody else waits for a late answer either.
        "AURICLE_BUS_FLUSH_S": "2",
    }
    folders = [folder / pod for pod in "ab"]
    for one in folders:
        one.mkdir()
    async with AsyncExitStack() as stack:
        servers = [auricle_server(one, f"auricle-{one.name}", environ) for one in folders]
        pods = await _both(stack, servers)
        yield pods, await auricle_token(folder, environ)


async def _both(stack: AsyncExitStack, servers: Sequence[ServerProcess]) -> _Pods:
    first, second = [await stack.enter_async_context(server) for server in servers]
    return _Pods(first, second)


def _measured(dialect: Dialect, pods: _Pods, valkey: ValkeyProcess, headers: dict[str, str] | None = None) -> Measured:
    target = Target(dialect, pods.first.url, headers or {}, other_url=pods.second.url, settle_s=SETTLE_S)
    return Measured(target, pods, beside=valkey)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.relay_pods",
        description="Print the CPU microseconds of two pods together per message that one passes on to the other.",
    )
    add = parser.add_argument
    add("--rounds", type=within(int, 1, 50), default=5, help="rounds, all servers in each (default 5)")
    add("--pairs", type=within(int, 1, 1_000), default=50, help="of clients, one on each pod (default 50)")
    add("--seconds", type=within(float, 0.05, 20), default=5.0, help="of each server in a round (default 5)")
    add("--chars", type=within(int, 24, 16_384), default=1_024, help="of each text (default 1024)")
    add("--node", action="store_true", help="Socket.IO on Node too, which npm installs")
    add("--time-limit", type=within(float, 1, 7_200), default=1_800.0, metavar="S", help="of all (default 1800)")
    add("--json", action="store_true", help="print one JSON object with every round")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
