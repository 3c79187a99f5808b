"""Statements of SQLAlchemy as text, compiled once: at run time there is only a text and its values.

This module must not know any table. Read ``Statement`` first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.elements import ClauseElement

__all__ = ["Statement"]


@dataclass(frozen=True, slots=True)
class Statement:
    """``text`` in the dialect of a database. ``names``: its values in the order of their places."""

    text: str
    names: tuple[str, ...]
    fixed: Mapping[str, Any]

    @classmethod
    def of(cls, statement: ClauseElement, dialect: Dialect) -> "Statement":
        """Compile a statement whose values are bound by name."""
        compiled = statement.compile(dialect=dialect)
        # Numbers that the statement itself holds are values too; those that are to be given have none yet.
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        return cls(str(compiled), tuple(getattr(compiled, "positiontup", None) or ()), fixed)

    def named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """All values, by name."""
        return {**self.fixed, **values}

    def placed(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """All values, in the order of their places."""
        given = self.named(values)
        return tuple(given[name] for name in self.names)
