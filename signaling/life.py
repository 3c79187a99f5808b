"""What is known of a connection when it has ended."""

from dataclasses import dataclass

__all__ = ["Life"]


@dataclass(frozen=True, slots=True)
class Life:
    """``transport``: the first one's name. ``cause``: one of a few words, for logs and metrics."""

    transport: str
    cause: str
    duration_s: float
