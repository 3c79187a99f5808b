"""What the service knows: identities, tokens, threads, rooms. Bounded, because anybody may fill it. Pure."""

import base64
import secrets
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["MOST", "Identity", "Member", "Message", "Resource", "Room", "Thread", "iso"]

# Of anything.
MOST: Final = 100_000


@dataclass(slots=True)
class Identity:
    """``revoked_at_s``: tokens that were issued until then are no good any more, in Unix seconds."""

    id: str
    revoked_at_s: float = 0.0
    issued: int = 0


@dataclass(slots=True)
class Member:
    """Of a thread. ``since_s``: from when on he sees what was written."""

    id: str
    display_name: str = ""
    since_s: float = 0.0


@dataclass(slots=True)
class Message:
    """``id`` counts up: milliseconds (read). ``sender`` is "" for what the service itself tells."""

    id: str
    sequence: int
    kind: str
    sender: str
    at_s: float
    content: dict[str, Any]
    sender_name: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    edited_at_s: float | None = None
    deleted_at_s: float | None = None


@dataclass(slots=True)
class Thread:
    """One thread of a chat; ``messages`` are the oldest first."""

    id: str
    topic: str
    created_at_s: float
    created_by: str
    members: dict[str, Member]
    messages: list[Message] = field(default_factory=list)
    deleted: bool = False
    last_ms: int = 0


@dataclass(slots=True)
class Room:
    """``participants``: role by raw id."""

    id: str
    created_at_s: float
    valid_from_s: float
    valid_until_s: float
    participants: dict[str, str]
    dial_out: bool = False


@dataclass(slots=True)
class Resource:
    """One resource of the service. ``keys`` are those that are good now, base64."""

    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    keys: list[str] = field(default_factory=lambda: [base64.b64encode(secrets.token_bytes(64)).decode()])
    token_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    identities: dict[str, Identity] = field(default_factory=dict)
    threads: dict[str, Thread] = field(default_factory=dict)
    rooms: dict[str, Room] = field(default_factory=dict)
    # By repeatability id: the request's hash, and what was answered.
    repeated: dict[str, tuple[str, int, Any]] = field(default_factory=dict)

    def new_identity(self) -> Identity:
        """Read: the form of a raw id."""
        made = Identity(f"8:acs:{self.id}_{secrets.token_hex(4)}-{secrets.token_hex(2)}-{secrets.token_hex(6)}")
        self.identities[made.id] = made
        return made


def iso(at_s: float) -> str:
    """A time as the service writes it."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
