"""The wire of Redis (RESP, version 2): commands into bytes, bytes into replies. Pure.

Replies are parsed by ``hiredis`` where it is installed, which takes a tenth of the time, and by the parser here
elsewhere; both are fed and asked alike. Read ``pack`` and ``new_replies`` first.
"""

from collections.abc import Iterable
from typing import Any, Final, Protocol

__all__ = ["NOTHING", "BrokenReplies", "ParsedReplies", "Refusal", "Replies", "new_replies", "pack"]

NOTHING: Final = object()
_LINE_END: Final = b"\r\n"
_MAX_DEPTH: Final = 8


class BrokenReplies(Exception):
    """What came is not the wire of Redis."""


class Refusal:
    """A command was refused; ``code`` is the word that the server gave, such as ``MOVED`` or ``NOPERM``."""

    __slots__ = ("code",)

    def __init__(self, text: str) -> None:
        # Only the word: the rest may quote what was sent.
        word = text.partition(" ")[0]
        self.code = word if word.isalpha() else "refused"


class Replies(Protocol):
    """Bytes in, in any portions; whole replies out: bytes, ints, lists, None, or a Refusal."""

    def feed(self, data: bytes, /) -> None:
        """What has come."""
        ...

    def gets(self) -> Any:
        """The next whole reply, NOTHING if there is none yet. Raises BrokenReplies."""
        ...


def pack(commands: Iterable[tuple[bytes, ...]]) -> bytes:
    """Commands as they are sent, in one piece."""
    pieces: list[bytes] = []
    for command in commands:
        pieces.append(b"*%d\r\n" % len(command))
        for word in command:
            pieces += (b"$%d\r\n" % len(word), word, _LINE_END)
    return b"".join(pieces)


def new_replies() -> Replies:
    """The faster of the two that there is."""
    try:
        import hiredis
    except ImportError:
        return ParsedReplies()
    replies: Replies = hiredis.Reader(
        protocolError=BrokenReplies,
        replyError=_refused,
        notEnoughData=NOTHING,
    )
    return replies


def _refused(text: str) -> Any:
    return Refusal(text)


class ParsedReplies:
    """``Replies`` without a library."""

    def __init__(self) -> None:
        self._held = b""
        self._at = 0

    def feed(self, data: bytes, /) -> None:
        """See ``Replies``."""
        self._held, self._at = self._held[self._at :] + data, 0

    def gets(self) -> Any:
        """See ``Replies``."""
        try:
            reply, end = self._reply(self._at, 0)
        except ValueError:
            raise BrokenReplies("not a number where there must be one") from None
        if end:
            self._at = end
        return reply

    def _reply(self, start: int, depth: int) -> tuple[Any, int]:
        """The reply at ``start`` and where it ends; NOTHING and 0 if it is not whole."""
        end = self._held.find(_LINE_END, start)
        if end < 0:
            return NOTHING, 0
        kind, line, end = self._held[start : start + 1], self._held[start + 1 : end], end + len(_LINE_END)
        if kind == b"+":
            return line, end
        if kind == b"-":
            return Refusal(line.decode(errors="replace")), end
        if kind == b":":
            return int(line), end
        if kind == b"$":
            return self._bulk(end, int(line))
        if kind == b"*" and depth < _MAX_DEPTH:
            return self._array(end, int(line), depth)
        raise BrokenReplies("a reply of no known kind")

    def _bulk(self, start: int, size: int) -> tuple[Any, int]:
        if size < 0:
            return None, start
        end = start + size + len(_LINE_END)
        return (self._held[start : start + size], end) if len(self._held) >= end else (NOTHING, 0)

    def _array(self, start: int, count: int, depth: int) -> tuple[Any, int]:
        if count < 0:
            return None, start
        values = []
        for _ in range(count):
            value, start = self._reply(start, depth + 1)
            if value is NOTHING:
                return NOTHING, 0
            values.append(value)
        return values, start
