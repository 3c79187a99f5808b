"""What a server would go by, for a person to read: each field with its value and where that comes from.

A field that is kept out of ``repr`` is a secret: of it only whether it is set is told. This module must not know what a
field means. Read ``shown`` first.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from .config import Config
from .config_environ import CHARGE, variable_of

__all__ = ["MASKED", "Shown", "as_json", "as_toml", "shown", "unread"]

MASKED: Final = "***"
_OWN: Final = "AURICLE_"
# Clients and tests read these.
_NOT_OURS: Final = frozenset({CHARGE, "AURICLE_PROBE_TOKEN", "AURICLE_CHAOS_PATIENCE"})
_NOT_OURS_BEGIN: Final = ("AURICLE_TEST_", "AURICLE_CHROMIUM")


@dataclass(frozen=True, slots=True)
class Shown:
    """One field. ``source``: "default", the variable, or the word of the command line, which wins."""

    name: str
    value: str | bool | int | float
    source: str


def shown(config: Config, environ: Mapping[str, str], command_line: Mapping[str, Any]) -> Iterator[Shown]:
    """Every field of a configuration that was made of these, by name."""
    for entry in sorted(fields(config), key=lambda entry: entry.name):
        variable, value = variable_of(entry.name), getattr(config, entry.name)
        source = variable if variable in environ else "default"
        if command_line.get(entry.name) is not None:
            source = f"--{entry.name.replace('_', '-')}"
        if not entry.repr:
            value = MASKED if value else ""
        yield Shown(entry.name, str(value) if isinstance(value, Path) else value, source)


def unread(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like ours and that nobody reads: a slip of the pen leaves a bound where it was."""
    known = {variable_of(entry.name) for entry in fields(Config)} | _NOT_OURS
    ours = (name for name in environ if name.startswith(_OWN) and not name.startswith(_NOT_OURS_BEGIN))
    return sorted(name for name in ours if name not in known)


def as_toml(entries: Iterator[Shown]) -> str:
    """A line for each, with its source behind it."""
    # What TOML knows of values JSON writes alike.
    return "".join(f"{one.name} = {json.dumps(one.value, ensure_ascii=False)}  # {one.source}\n" for one in entries)


def as_json(entries: Iterator[Shown]) -> str:
    """One object, a field for each."""
    return json.dumps({one.name: {"value": one.value, "source": one.source} for one in entries}, indent=2) + "\n"
