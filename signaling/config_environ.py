"""How the environment names what is configured, and what only a supervisor puts there.

Must not know any field.
"""

import os
from collections.abc import Mapping, MutableMapping
from typing import Final

__all__ = ["CHARGE", "charge_of_worker", "environ_of_worker", "is_worker", "variable_of"]

# What a supervisor has its worker be; whoever starts a server by hand never sets it.
CHARGE: Final = "AURICLE_WORKER"


def variable_of(field: str) -> str:
    """The variable that sets a field."""
    return f"AURICLE_{field.upper()}"


def environ_of_worker(charge: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a process that is to be a worker."""
    return {**environ, CHARGE: charge}


def is_worker(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this process was started by a supervisor, and has not been told yet what it is to be."""
    return CHARGE in environ


def charge_of_worker(environ: MutableMapping[str, str] = os.environ) -> str | None:
    """What this process is to be as a worker, None when it is none; told once, so that no child of it believes it."""
    return environ.pop(CHARGE, None)
