"""What carries the bytes of a connection, as the connection sees it: four transports, one face.

A transport belongs to one ``HubSession``. It calls ``session.receive`` with what came, ``session.drained`` when it
has room again, and ``session.lost`` exactly once when it has ended, for whatever cause.
"""

from typing import Final, Protocol

__all__ = ["NOWHERE", "SessionTransport"]


class SessionTransport(Protocol):
    """Bytes in both directions; nothing here waits."""

    @property
    def name(self) -> str:
        """The name in metrics."""
        ...

    @property
    def inherent_keep_alive(self) -> bool:
        """Whether the transport itself shows that both ends live, so that no pings are needed."""
        ...

    @property
    def waiting_bytes(self) -> int:
        """Bytes written and not yet taken by the kernel or by a poll."""
        ...

    def use_binary(self) -> None:
        """The handshake chose a binary format."""
        ...

    def write(self, payload: bytes) -> None:
        """Send one or more whole hub messages."""
        ...

    def pause_reading(self) -> None:
        """Take nothing more from the client for now."""
        ...

    def resume_reading(self) -> None:
        """Go on reading."""
        ...

    @property
    def is_quiet(self) -> bool:
        """Whether ``tick`` has nothing to do until the session's ``quiet_until`` is set back."""
        ...

    def tick(self, now: float) -> None:
        """Look at the transport's own deadlines; ``now`` is monotonic."""
        ...

    def close(self) -> None:
        """End in order: what was written arrives first."""
        ...

    def abort(self) -> None:
        """End at once; what waits is lost."""
        ...


class _Nowhere:
    """The transport of a connection that has lost its own and waits for another."""

    name: Final = "none"
    inherent_keep_alive: Final = False
    is_quiet: Final = True
    waiting_bytes: Final = 0

    def use_binary(self) -> None: ...
    def write(self, payload: bytes) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def tick(self, now: float) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


NOWHERE: Final[SessionTransport] = _Nowhere()
