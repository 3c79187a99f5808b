"""What a server says, cut out of the bytes in which it comes (RESP 2).

hiredis does it where it is installed; where it is not, this does, in many times the time. Pure. Read ``Replies.gets``.
"""

import re
from typing import Any, Final, Protocol

__all__ = ["NOTHING", "LinkLost", "Parser", "Refusal", "Replies", "new_parser", "numbers_in"]

NOTHING: Final = object()
"""There is no whole reply yet."""
_END: Final = b"\r\n"
_TEXT, _REFUSAL, _NUMBER, _BYTES, _LIST = b"+-:$*"
# A list of slots holds ranges, and they hold nodes.
_MAX_DEPTH: Final = 7
_NUMBERS: Final = re.compile(rb"(?::[0-9]++\r\n)++")


class LinkLost(Exception):
    """There is no connection, or none any more. ``cause``: one of a few words, or the code of a refusal."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class _NoReply(LinkLost):
    """What came is no reply; the text of it would quote what did."""

    def __init__(self, _: str) -> None:
        super().__init__("InvalidResponse")


class Refusal(Exception):
    """A command was refused; ``code`` is the word that the server gave, such as ``MOVED`` or ``NOPERM``.

    A value, never raised; hiredis makes nothing of an error but an exception.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        code = text.partition(" ")[0]
        self.code = code if code.isalpha() else "ERR"


class Parser(Protocol):
    """Bytes in, replies out: bytes, numbers, None, refusals, and lists of these."""

    def feed(self, data: bytes, begin: int, size: int, /) -> object:
        """More of what the server says: so many bytes of ``data``, from ``begin`` on."""
        ...

    def gets(self) -> Any:
        """The next whole reply, or ``NOTHING``. Raises LinkLost for what is none."""
        ...

    def has_data(self) -> bool:
        """Whether something of what was fed is still held."""
        ...


def numbers_in(data: bytes) -> int:
    """How many whole replies there are, when all are numbers and there is nothing else; else 0."""
    return data.count(b"\n") if _NUMBERS.fullmatch(data) else 0


def new_parser() -> Parser:
    """One for a new connection."""
    try:
        from hiredis import Reader
    except ImportError:
        return Replies()
    return Reader(protocolError=_NoReply, replyError=Refusal, notEnoughData=NOTHING)


class Replies:
    """The parser in plain Python."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes, begin: int, size: int, /) -> None:
        """See ``Parser``."""
        self._held += data[begin : begin + size]

    def gets(self) -> Any:
        """See ``Parser``."""
        try:
            reply, end = self._reply(0, 0)
        except _Unfinished:
            return NOTHING
        del self._held[:end]
        return reply

    def has_data(self) -> bool:
        """See ``Parser``."""
        return bool(self._held)

    def _reply(self, at: int, depth: int) -> tuple[Any, int]:
        """The reply at ``at``, and where the next one begins."""
        held = self._held
        line_end = held.find(_END, at)
        if line_end < 0:
            raise _Unfinished
        kind, line, at = held[at], bytes(held[at + 1 : line_end]), line_end + 2
        if kind == _TEXT:
            return line, at
        if kind == _REFUSAL:
            return Refusal(line.decode("utf-8", "replace")), at
        if kind not in (_NUMBER, _BYTES, _LIST) or depth > _MAX_DEPTH:
            raise _NoReply("kind")
        number = _number(line)
        if kind == _NUMBER:
            return number, at
        if number < 0:
            return None, at
        if kind == _BYTES:
            end = at + number
            if len(held) < end + len(_END):
                raise _Unfinished
            return bytes(held[at:end]), end + len(_END)
        items = []
        for _ in range(number):
            item, at = self._reply(at, depth + 1)
            items.append(item)
        return items, at


class _Unfinished(Exception):
    """The rest has not come yet."""


def _number(line: bytes) -> int:
    try:
        return int(line)
    except ValueError:
        raise _NoReply("number") from None
