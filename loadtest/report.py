"""What a run measured, and how it is shown: medians with their range, and ratios within each round.

Absolute figures of a shared machine move with the neighbours; the ratio to bare aiohttp of the same round hardly
does, so the ratio is what to quote. It must not know how anything was measured. Read ``summarise`` first.
"""

import statistics
from collections.abc import Iterable, Sequence

import msgspec

__all__ = ["IdleSample", "Machine", "Report", "Row", "Sample", "Settings", "Spread", "joined", "summarise", "table"]

YARDSTICK = "aiohttp"
# What speaks Socket.IO is held to what speaks it too.
YARDSTICKS = {"auricle-socketio": "python-socketio"}


class Settings(msgspec.Struct, frozen=True, rename="camel"):
    """What was asked for. ``seconds`` are of each server, load and round together, ``warm_up_s`` before each window.

    ``fanout`` counts receivers.

    ``idle`` counts connections that only keep alive; ``node``: Socket.IO on Node is measured too, ``socketio``: ours
    and python-socketio's plain server.
    """

    rounds: int
    connections: int
    seconds: float
    warm_up_s: float
    text_chars: int
    fanout: int
    idle: int = 0
    node: bool = False
    socketio: bool = False


class Machine(msgspec.Struct, frozen=True):
    """What it ran on."""

    python: str
    aiohttp: str
    uvloop: str | None
    cores: int
    platform: str


class Sample(msgspec.Struct, frozen=True, rename="camel"):
    """One window on one server, or several joined.

    ``messages`` were delivered within it, at ``server_us`` and ``generator_us`` of CPU time each; the server was busy
    for ``server_busy`` of the window (1 = one core). ``sent`` and ``delivered`` count from the first message to the
    last, outside the window too.
    """

    round: int
    workload: str
    in_flight: int
    server: str
    messages: int
    sent: int
    delivered: int
    wall_s: float
    server_us: float
    generator_us: float
    server_busy: float
    beside_us: float = 0.0
    """CPU time a message of what works for the server and is counted apart."""


def joined(samples: Sequence[Sample]) -> Sample:
    """Windows of one server under one load as if they were one."""
    messages, wall_s = sum(s.messages for s in samples), sum(s.wall_s for s in samples)
    return msgspec.structs.replace(
        samples[0],
        messages=messages,
        sent=sum(s.sent for s in samples),
        delivered=sum(s.delivered for s in samples),
        wall_s=wall_s,
        server_us=sum(s.server_us * s.messages for s in samples) / messages,
        generator_us=sum(s.generator_us * s.messages for s in samples) / messages,
        server_busy=sum(s.server_busy * s.wall_s for s in samples) / wall_s,
        beside_us=sum(s.beside_us * s.messages for s in samples) / messages,
    )


class IdleSample(msgspec.Struct, frozen=True, rename="camel"):
    """Connections that only keep alive: resident memory of each, and the share of a core that all of them use."""

    round: int
    server: str
    connections: int
    kib_per_connection: float
    busy: float
    wall_s: float


class Spread(msgspec.Struct, frozen=True):
    """A median with its range."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """The spread of at least one value."""
        given = list(values)
        return cls(statistics.median(given), min(given), max(given))


class Row(msgspec.Struct, frozen=True, rename="camel"):
    """One server under one workload: CPU microseconds a message, and the ratio to bare aiohttp in the same round."""

    workload: str
    in_flight: int
    server: str
    server_us: Spread
    ratio: Spread
    messages_per_s: Spread
    server_busy: Spread
    generator_us: Spread


class Report(msgspec.Struct, frozen=True):
    """A whole run."""

    settings: Settings
    machine: Machine
    rows: list[Row]
    samples: list[Sample]
    idle: list[IdleSample] = []


def summarise(samples: Sequence[Sample], by: str = "") -> list[Row]:
    """One row for each workload and server, in the order of the first round.

    Every round must hold the yardsticks: the server ``by``, or that of ``YARDSTICKS``; a yardstick's own ratio is 1.
    """
    taken = {(s.workload, s.in_flight, s.round, s.server): s.server_us for s in samples}
    rows = []
    for workload, in_flight, server in dict.fromkeys((s.workload, s.in_flight, s.server) for s in samples):
        same = [s for s in samples if (s.workload, s.in_flight, s.server) == (workload, in_flight, server)]
        yardstick = by or YARDSTICKS.get(server, YARDSTICK)
        rows.append(
            Row(
                workload=workload,
                in_flight=in_flight,
                server=server,
                server_us=Spread.of(s.server_us for s in same),
                ratio=Spread.of(s.server_us / taken[workload, in_flight, s.round, yardstick] for s in same),
                messages_per_s=Spread.of(s.messages / s.wall_s for s in same),
                server_busy=Spread.of(s.server_busy for s in same),
                generator_us=Spread.of(s.generator_us for s in same),
            )
        )
    return rows


def table(report: Report) -> str:
    """The report as text: medians, with their range in brackets."""
    machine = report.machine
    lines = [
        "Server CPU microseconds per delivered message, and the ratio to bare aiohttp of the same round.",
        f"{report.settings.rounds} rounds, {report.settings.connections} connections, "
        f"{report.settings.seconds:g} s each, texts of {report.settings.text_chars} characters; "
        f"Python {machine.python}, aiohttp {machine.aiohttp}, uvloop {machine.uvloop or 'not installed'}, "
        f"{machine.cores} cores.",
        *(["The ratio of auricle-socketio is to python-socketio."] if report.settings.socketio else []),
        "",
        f"{'workload':<12} {'server':<20} {'us/message':>20} {'ratio':>18} {'per s':>8} {'busy':>5} {'gen us':>7}",
    ]
    for row in report.rows:
        us, ratio = row.server_us, row.ratio
        lines.append(
            f"{row.workload + ' x' + str(row.in_flight):<12} {row.server:<20} "
            f"{f'{us.median:.1f} ({us.min:.1f}-{us.max:.1f})':>20} "
            f"{f'{ratio.median:.2f} ({ratio.min:.2f}-{ratio.max:.2f})':>18} "
            f"{row.messages_per_s.median:>8.0f} {row.server_busy.median:>5.2f} {row.generator_us.median:>7.1f}"
        )
    lines += _idle_lines(report)
    lines += [
        "",
        "busy: share of one core that the server used; below 1 the generator (gen us) or a neighbour was the limit.",
    ]
    return "\n".join(lines)


def _idle_lines(report: Report) -> list[str]:
    lines = []
    for server in dict.fromkeys(sample.server for sample in report.idle):
        same = [sample for sample in report.idle if sample.server == server]
        memory = Spread.of(sample.kib_per_connection for sample in same)
        busy = Spread.of(100 * sample.busy for sample in same)
        lines.append(
            f"idle {same[0].connections:<7} {server:<20} "
            f"{f'{memory.median:.1f} ({memory.min:.1f}-{memory.max:.1f})':>20} KiB each, "
            f"{busy.median:.2f} ({busy.min:.2f}-{busy.max:.2f}) % of a core"
        )
    return ["", *lines] if lines else []
