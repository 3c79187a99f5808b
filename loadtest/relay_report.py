"""What passing messages on between pods cost, and how it is shown: medians, and ratios within each round.

It must not know how anything was measured. Read ``rows`` first.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from .report import Machine, Sample, Settings, Spread, summarise

__all__ = ["NODE", "PYTHON", "RelayReport", "RelayRow", "rows", "table"]

PYTHON: Final = "socketio-python"
NODE: Final = "socketio-node"


class RelayRow(msgspec.Struct, frozen=True, rename="camel"):
    """One server: CPU microseconds of both pods a message, of Valkey beside them, and ratios in the same round.

    ``to_node`` is None when Node was not measured.
    """

    server: str
    pods_us: Spread
    valkey_us: Spread
    to_python: Spread
    to_node: Spread | None
    messages_per_s: Spread
    busy: Spread
    generator_us: Spread


class RelayReport(msgspec.Struct, frozen=True):
    """A whole run."""

    settings: Settings
    machine: Machine
    rows: list[RelayRow]
    samples: list[Sample]


def rows(samples: Sequence[Sample]) -> list[RelayRow]:
    """One row for each server, in the order of the first round; every round holds python-socketio."""
    has_node = any(sample.server == NODE for sample in samples)
    to_node = {row.server: row.ratio for row in summarise(samples, by=NODE)} if has_node else {}
    return [
        RelayRow(
            server=row.server,
            pods_us=row.server_us,
            valkey_us=Spread.of(sample.beside_us for sample in samples if sample.server == row.server),
            to_python=row.ratio,
            to_node=to_node.get(row.server),
            messages_per_s=row.messages_per_s,
            busy=row.server_busy,
            generator_us=row.generator_us,
        )
        for row in summarise(samples, by=PYTHON)
    ]


def table(report: RelayReport) -> str:
    """The report as text: medians, with their range in brackets."""
    settings, machine = report.settings, report.machine
    lines = [
        "CPU microseconds of both pods together per message that one passed on to the other; ratios in the same round.",
        f"{settings.rounds} rounds, {settings.connections // 2} pairs of clients, {settings.seconds:g} s each, "
        f"texts of {settings.text_chars} characters; Python {machine.python}, "
        f"uvloop {machine.uvloop or 'not installed'}, {machine.cores} cores.",
        "",
        f"{'server':<20} {'us/message':>20} {'/ python-socketio':>20} {'/ Node':>18} {'Valkey us':>9} "
        f"{'per s':>7} {'busy':>5} {'gen us':>7}",
    ]
    lines += [
        f"{row.server:<20} {_shown(row.pods_us, 1):>20} {_shown(row.to_python, 3):>20} "
        f"{'' if row.to_node is None else _shown(row.to_node, 2):>18} {row.valkey_us.median:>9.1f} "
        f"{row.messages_per_s.median:>7.0f} {row.busy.median:>5.2f} {row.generator_us.median:>7.1f}"
        for row in report.rows
    ]
    lines += [
        "",
        "busy: share of one core that both pods used together; clients (gen us) and Valkey are not in it.",
    ]
    return "\n".join(lines)


def _shown(spread: Spread, digits: int) -> str:
    return f"{spread.median:.{digits}f} ({spread.min:.{digits}f}-{spread.max:.{digits}f})"
