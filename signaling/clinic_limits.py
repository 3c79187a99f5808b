"""The safety limits that clinics have tightened, from a file that is read once at start.

A limit that silently did not hold would be worse than a server that does not start, so whatever is not understood is an
error that names clinic and field. This module must not know what the numbers mean. Read ``read_clinic_limits`` first.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fitting.limits import LIMIT_FIELDS, ClinicLimits
from protocol.errors import BadArgument

from .config import ConfigError

__all__ = ["read_clinic_limits"]


def read_clinic_limits(path: str) -> Mapping[str, ClinicLimits]:
    """The limits by clinic, of ``{"clinic id": {"liveRiseDdb": 20, ...}, ...}``; none without a path.

    Numbers are integers, tenths of their unit; a limit that is left out is the kernel's own.

    Raises:
        ConfigError: the file cannot be read or is not such JSON, a key is there twice, a field that there is not, a
            number that is no integer or that would loosen.
    """
    if not path:
        return MappingProxyType({})
    try:
        document = json.loads(Path(path).read_text("utf-8-sig"), object_pairs_hook=_unique)
    except OSError as error:
        raise ConfigError(f"clinic_limits: cannot read {path}: {error.strerror}") from None
    # Not UTF-8, not JSON or an integer of thousands of digits are a ValueError, deep nesting a RecursionError.
    except (ValueError, RecursionError):
        raise ConfigError(f"clinic_limits: {path} is not JSON") from None
    if not isinstance(document, dict):
        raise ConfigError('clinic_limits: must be an object like {"clinic id": {"liveRiseDdb": 20}}')
    return MappingProxyType({clinic: _limits(clinic, given) for clinic, given in document.items()})


def _limits(clinic: str, given: Any) -> ClinicLimits:
    where = f"clinic_limits: clinic {_shown(clinic)}"
    if not clinic:
        raise ConfigError(f"{where}: a clinic has a name")
    if not isinstance(given, dict):
        raise ConfigError(f'{where}: must be an object like {{"liveRiseDdb": 20}}')
    for shown, value in given.items():
        if shown not in LIMIT_FIELDS:
            raise ConfigError(f"{where}: there is no limit {_shown(shown)}, known are {', '.join(LIMIT_FIELDS)}")
        name = LIMIT_FIELDS[shown]
        try:
            ClinicLimits(**{name: value})
        except BadArgument as error:
            raise ConfigError(f"{where}: {shown}: {error.public_message.removeprefix(f'{name}: ')}") from None
    return ClinicLimits(**{LIMIT_FIELDS[shown]: value for shown, value in given.items()})


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ConfigError(f"clinic_limits: {_shown(twice)} is there twice")
    return found


def _shown(name: str) -> str:
    """Quoted and short, so that the message stays one line whatever is in the file."""
    return json.dumps(name[:40])
