"""Decisions in SQL: ``DecisionStore`` over a table that SQLite and PostgreSQL share.

Of two that decide the same at once one takes the next number, and the other looks again. Read
``SqlDecisionStore.decide`` first.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Table, Text, bindparam, func, select

from protocol.errors import Overloaded, Unavailable

from .decisions import Decision, is_overtaken
from .sql import TRIES, Rows

__all__ = ["SqlDecisionStore"]

_COLUMNS: Final = ("clinic", "owner", "subject", "holds", "decided_by", "role", "reason", "at", "n")


class SqlDecisionStore:
    """``DecisionStore`` in ``table``; ``reached`` is told when an owner has ``max_decisions``."""

    def __init__(self, rows: Rows, table: Table, *, max_decisions: int, reached: Callable[[str], None]) -> None:
        self._rows = rows
        self._table = table
        self._max_decisions = max_decisions
        self._reached = reached
        columns = table.columns
        of_owner = (
            columns.clinic == bindparam("of_clinic", type_=Text),
            columns.owner == bindparam("of_owner", type_=Text),
        )
        decisions = select(*(columns[name] for name in _COLUMNS)).where(*of_owner)
        self._history = decisions.order_by(columns.subject, columns.n)
        self._newest = (
            decisions.where(columns.subject == bindparam("of_subject", type_=Text)).order_by(columns.n.desc()).limit(1)
        )
        self._count = select(func.count()).select_from(table).where(*of_owner)

    async def decide(self, decision: Decision, *, seen: int | None = None) -> Decision | None:
        """See ``DecisionStore``."""
        for _ in range(TRIES):
            before = await self.newest(decision.clinic, decision.owner, decision.subject)
            if is_overtaken(before, seen):
                return None
            if before is not None and before.holds == decision.holds:
                return before
            if decision.holds:
                await self._require_room(decision)
            recorded = replace(decision, n=1 if before is None else before.n + 1)
            # To take something back must be possible on a full disk too.
            if await self._add(recorded, is_new_work=recorded.holds):
                return recorded
        raise Unavailable("somebody else is deciding the same, try again")

    async def begin(self, decision: Decision) -> bool:
        """See ``DecisionStore``."""
        return await self._add(replace(decision, n=1), is_new_work=True)

    async def newest(self, clinic: str, owner: str, subject: str) -> Decision | None:
        """See ``DecisionStore``."""
        wanted = {"of_clinic": clinic, "of_owner": owner, "of_subject": subject}
        rows = await self._rows.read(self._newest, wanted)
        return _decision(rows[0]) if rows else None

    async def history(self, clinic: str, owner: str) -> tuple[Decision, ...]:
        """See ``DecisionStore``."""
        rows = await self._rows.read(self._history, {"of_clinic": clinic, "of_owner": owner})
        return tuple(map(_decision, rows))

    async def _require_room(self, decision: Decision) -> None:
        [[made]] = await self._rows.read(self._count, {"of_clinic": decision.clinic, "of_owner": decision.owner})
        if made >= self._max_decisions:
            self._reached("max_decisions")
            raise Overloaded("too much was decided here already")

    async def _add(self, decision: Decision, *, is_new_work: bool) -> bool:
        values = (
            decision.clinic,
            decision.owner,
            decision.subject,
            decision.holds,
            decision.by,
            decision.role,
            decision.reason,
            decision.at_s,
            decision.n,
        )
        return await self._rows.add(self._table, dict(zip(_COLUMNS, values, strict=True)), is_new_work=is_new_work)


def _decision(row: Sequence[Any]) -> Decision:
    clinic, owner, subject, holds, by, role, reason, at_s, n = row
    return Decision(clinic, owner, subject, bool(holds), by, role, reason, at_s, n)
