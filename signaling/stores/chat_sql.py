"""Messages in SQL: ``ChatStore`` over two tables that SQLite and PostgreSQL share.

Of two that write at once one takes the next number, and the other looks again. Read ``SqlChatStore.append`` first.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, Double, Integer, Text, bindparam, func, select, update

from media.chat import Message, Reader
from protocol.contract.chat import Attachment
from protocol.errors import Overloaded, Unavailable

from .sql import Rows
from .tables import chat_message, chat_reader

__all__ = ["SqlChatStore"]

# All of a visit may write at once.
_TRIES: Final = 24
_M: Final = chat_message.columns
_R: Final = chat_reader.columns
_ATTACHMENTS: Final = msgspec.msgpack.Decoder(tuple[Attachment, ...])
_VISIT: Final = bindparam("of_visit", type_=Text)
_WHO: Final = bindparam("of_participant", type_=Text)
_MESSAGE: Final = select(_M.visit, _M.n, _M.id, _M.participant, _M.client_id, _M.at, _M.text, _M.attachments).where(
    _M.visit == _VISIT
)
_KNOWN: Final = _MESSAGE.where(_M.participant == _WHO, _M.client_id == bindparam("of_client_id", type_=Text))
_BEHIND: Final = _M.n > bindparam("behind", type_=BigInteger)
_AFTER: Final = _MESSAGE.where(_BEHIND).order_by(_M.n).limit(bindparam("bound"))
_LAST: Final = select(func.coalesce(func.max(_M.n), 0)).where(_M.visit == _VISIT)
_UNREAD: Final = (
    select(func.count()).select_from(chat_message).where(_M.visit == _VISIT, _BEHIND, _M.participant != _WHO)
)
_READER: Final = select(_R.visit, _R.participant, _R.read_to, _R.push_due_at, _R.tries, _R.pushed_at)
_ONE: Final = (_R.visit == _VISIT, _R.participant == _WHO)
_GET: Final = _READER.where(*_ONE)
_READ_TO: Final = bindparam("new_read_to", type_=BigInteger)
_MARK: Final = update(chat_reader).where(*_ONE, _R.read_to < _READ_TO).values(read_to=_READ_TO)
_NEW_DUE: Final = bindparam("new_due_at", type_=Double)
_WAKE: Final = update(chat_reader).where(*_ONE, _R.push_due_at.is_(None)).values(push_due_at=_NEW_DUE, tries=0)
_DUE: Final = (
    _READER.where(_R.push_due_at <= bindparam("now_s", type_=Double))
    .order_by(_R.push_due_at, _R.visit, _R.participant)
    .limit(bindparam("bound"))
)
_SETTLE: Final = (
    update(chat_reader)
    .where(*_ONE, _R.push_due_at == bindparam("seen_due_at", type_=Double))
    .values(
        push_due_at=_NEW_DUE,
        tries=bindparam("new_tries", type_=Integer),
        pushed_at=bindparam("new_pushed_at", type_=Double),
    )
)


class SqlChatStore:
    """``ChatStore`` over two tables; ``reached`` is told when a visit has ``max_messages``."""

    def __init__(self, rows: Rows, *, max_messages: int, reached: Callable[[str], None]) -> None:
        self._rows = rows
        self._max_messages = max_messages
        self._reached = reached

    async def append(self, message: Message) -> Message:
        """See ``ChatStore``."""
        named = {
            "of_visit": message.visit,
            "of_participant": message.participant,
            "of_client_id": message.client_id,
        }
        values = {
            "visit": message.visit,
            "id": message.id,
            "participant": message.participant,
            "client_id": message.client_id,
            "at": message.at_s,
            "text": message.text,
            "attachments": msgspec.msgpack.encode(message.attachments),
        }
        for _ in range(_TRIES):
            known = await self._rows.read(_KNOWN, named)
            if known:
                return _message(known[0])
            n = await self.last_n(message.visit) + 1
            if n > self._max_messages:
                self._reached("max_visit_messages")
                raise Overloaded("no more can be written in this visit")
            if await self._rows.add(chat_message, {**values, "n": n}):
                return _message((message.visit, n, *list(values.values())[1:]))
        raise Unavailable("others are writing in the same visit, try again")

    async def after(self, visit: str, n: int, limit: int) -> tuple[Message, ...]:
        """See ``ChatStore``."""
        return tuple(map(_message, await self._rows.read(_AFTER, {"of_visit": visit, "behind": n, "bound": limit})))

    async def last_n(self, visit: str) -> int:
        """See ``ChatStore``."""
        [[last]] = await self._rows.read(_LAST, {"of_visit": visit})
        return int(last)

    async def unread(self, visit: str, participant: str, read_to: int) -> int:
        """See ``ChatStore``."""
        wanted = {"of_visit": visit, "of_participant": participant, "behind": read_to}
        [[count]] = await self._rows.read(_UNREAD, wanted)
        return int(count)

    async def reader(self, visit: str, participant: str) -> Reader:
        """See ``ChatStore``."""
        rows = await self._rows.read(_GET, {"of_visit": visit, "of_participant": participant})
        return Reader(*rows[0]) if rows else Reader(visit, participant)

    async def mark_read(self, visit: str, participant: str, n: int) -> int:
        """See ``ChatStore``."""
        named = {"of_visit": visit, "of_participant": participant}
        if not await self._add(Reader(visit, participant, read_to=n)):
            await self._rows.change(_MARK, {**named, "new_read_to": n})
        return (await self.reader(visit, participant)).read_to

    async def wake_at(self, visit: str, participant: str, due_at_s: float) -> None:
        """See ``ChatStore``."""
        if not await self._add(Reader(visit, participant, due_at_s=due_at_s)):
            named = {"of_visit": visit, "of_participant": participant}
            await self._rows.change(_WAKE, {**named, "new_due_at": due_at_s})

    async def due(self, now_s: float, limit: int) -> tuple[Reader, ...]:
        """See ``ChatStore``."""
        return tuple(Reader(*row) for row in await self._rows.read(_DUE, {"now_s": now_s, "bound": limit}))

    async def settle(self, seen: Reader, after: Reader) -> bool:
        """See ``ChatStore``."""
        values = {
            "of_visit": seen.visit,
            "of_participant": seen.participant,
            "seen_due_at": seen.due_at_s,
            "new_due_at": after.due_at_s,
            "new_tries": after.tries,
            "new_pushed_at": after.pushed_at_s,
        }
        return await self._rows.change(_SETTLE, values) == 1

    async def _add(self, reader: Reader) -> bool:
        """The first that is known of somebody; False when something is."""
        values = {
            "visit": reader.visit,
            "participant": reader.participant,
            "read_to": reader.read_to,
            "push_due_at": reader.due_at_s,
            "tries": reader.tries,
            "pushed_at": reader.pushed_at_s,
        }
        return await self._rows.add(chat_reader, values)


def _message(row: Sequence[Any]) -> Message:
    visit, n, name, participant, client_id, at_s, text, attachments = row
    return Message(visit, n, name, participant, client_id, at_s, text, _ATTACHMENTS.decode(attachments))
