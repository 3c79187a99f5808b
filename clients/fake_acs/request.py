"""One request as the parts of the service take it, and what they share: versions, repeatability. Read ``Asked``."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .answers import Breach
from .state import MOST, Resource

__all__ = ["API_VERSIONS", "Asked", "Reply", "check_version", "repeated"]

# Read: all that the SDKs know, by the first part of the path.
API_VERSIONS: Final[Mapping[str, frozenset[str]]] = {
    "identities": frozenset({"2021-03-07", "2022-06-01", "2022-10-01", "2023-10-01"}),
    "rooms": frozenset({"2023-06-14", "2024-04-15", "2025-03-13"}),
    "chat": frozenset({"2021-09-07", "2023-11-07", "2024-03-07"}),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """``parts``: the path, unquoted and cut at its slashes. ``now_s`` is Unix time."""

    method: str
    parts: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    now_s: float = field(default_factory=time.time)

    @property
    def hashed(self) -> str:
        """What tells one body from another."""
        return hashlib.sha256(self.body).hexdigest()

    @property
    def json(self) -> dict[str, Any]:
        """The body, an empty object when there is none. Raises Breach."""
        if not self.body:
            return {}
        try:
            found = json.loads(self.body)
        except ValueError:
            raise Breach(400, "BadRequest", "the body is no JSON") from None
        if not isinstance(found, dict):
            raise Breach(400, "BadRequest", "the body is no JSON object")
        return found


@dataclass(frozen=True, slots=True)
class Reply:
    """``body`` None: none."""

    status: int
    body: Any = None


def check_version(asked: Asked) -> None:
    """Raises Breach. Read: each call names one."""
    if asked.query.get("api-version") not in API_VERSIONS[asked.parts[0]]:
        raise Breach(400, "UnsupportedApiVersion", "api-version: missing, or not known")


def repeated(resource: Resource, asked: Asked, name: str) -> tuple[Reply | None, str]:
    """The answer to a request that came before, None for a new one; and the key under which its answer is to be kept.

    Public: the same id and the same request are answered the same. Assumed: another request with it is refused.
    """
    given = asked.headers.get(name, "")
    if not given:
        return None, ""
    known = resource.repeated.get(given)
    if known is None:
        if len(resource.repeated) >= MOST:
            resource.repeated.pop(next(iter(resource.repeated)))
        return None, given
    if known[0] != asked.hashed:
        raise Breach(412, "RepeatabilityMismatch", "this repeatability id came with another request")
    return Reply(known[1], known[2]), ""
