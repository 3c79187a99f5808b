"""The calls of all pods in Redis: each version of a call is a key that only one pod can have been the first to set.

What is kept is sealed, since it names people. A pod keeps what it knows beside it: while Redis is away calls go on
among those whom it reaches, and one that others have changed meanwhile is theirs. Read ``RedisCalls.swap`` first.
"""

import hmac
import os
from collections.abc import Callable, Collection
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from media.call import Call
from protocol.errors import Overloaded
from signaling.bus.line_redis import TablesAway
from signaling.bus.tables_redis import RedisTables

__all__ = ["RedisCalls"]

_NONCE_BYTES: Final = 12
_TAG_CHARS: Final = 32
_TRIES: Final = 5
_decode = msgspec.msgpack.Decoder(Call).decode


class RedisCalls:
    """``CallRegistry`` over tables. What is kept there ends ``ttl_s`` after it was kept last.

    ``key`` is the same for all pods. ``limit`` bounds the calls that this pod remembers.
    """

    def __init__(
        self, tables: RedisTables, *, key: bytes, ttl_s: float, limit: int, reached: Callable[[str], None]
    ) -> None:
        self._tables = tables
        self._names = hmac.digest(key, b"names", "sha256")
        self._seal = AESGCM(hmac.digest(key, b"seal", "sha256"))
        self._ttl_s = ttl_s
        self._limit = limit
        self._reached = reached
        self._known: dict[str, Call] = {}
        # Calls that ended here while Redis was away.
        self._untold: dict[str, Call] = {}

    async def get(self, visit: str) -> Call | None:
        """See ``CallRegistry``; the newest version, found from the one that was known here."""
        known, tag = self._known.get(visit), self._tag(visit)
        hints = () if known is None else (_hint(tag, known.call_id),)
        said = await self._tables.values(_head(tag), *hints)
        if isinstance(said, TablesAway):
            return known
        found = said[0]
        if found is not None:
            name = found.decode()
            is_other = known is None or known.call_id != name
            hint = self._opened(await self._tables.get(_hint(tag, name)) if is_other else said[1])
            # What was known here may lie before versions that Redis has lost, so that no other follows it.
            if is_other or known is None or (hint is not None and hint.version > known.version):
                known = hint
        newest = None if known is None else await self._newest(known)
        if newest is None or newest.ended is not None:
            self._known.pop(visit, None)
            return None
        self._remember(newest)
        if found is None:
            # Redis has lost it, and its people have not.
            await self.keep(newest)
        return newest

    async def begin(self, call: Call) -> Call | None:
        """See ``CallRegistry``."""
        for _ in range(_TRIES):
            known = await self.get(call.visit)
            if known is not None:
                return known
            if len(self._known) >= self._limit:
                self._reached("max_calls")
                raise Overloaded("too many calls go on already")
            if call.ended is not None:
                return None
            claimed = await self._tables.claim(_head(self._tag(call.visit)), call.call_id.encode(), ttl_s=self._ttl_s)
            if isinstance(claimed, TablesAway) or claimed.decode() == call.call_id:
                await self._write(call)
                return None
        raise Overloaded("calls begin and end here all the time, try again")

    async def swap(self, before: Call, after: Call) -> bool:
        """See ``CallRegistry``; whoever sets the key of a version first has made it."""
        known = self._known.get(before.visit)
        if known is not None and known.call_id == before.call_id and known.version > before.version:
            return False
        sealed = self._sealed(after)
        claimed = await self._tables.claim(_version(self._tag(after.visit), after), sealed, ttl_s=self._ttl_s)
        if isinstance(claimed, TablesAway):
            if known != before:
                return False
            if after.ended is not None:
                self._keep_untold(after)
        elif claimed != sealed:
            return False
        if after.ended is None:
            self._remember(after)
            await self._tables.put(_hint(self._tag(after.visit), after.call_id), sealed, ttl_s=self._ttl_s)
        else:
            self._known.pop(after.visit, None)
            await self._close(self._tag(after.visit), after.call_id)
        await self._mark_busy(before, after)
        return True

    async def keep(self, call: Call) -> None:
        """See ``CallRegistry``."""
        head = _head(self._tag(call.visit))
        kept = await self._tables.change(head, {}, ttl_s=self._ttl_s)
        if kept is False:
            claimed = await self._tables.claim(head, call.call_id.encode(), ttl_s=self._ttl_s)
            if claimed != call.call_id.encode():
                return
        await self._write(call)

    async def ended(self, call: Call) -> Call | None:
        """See ``CallRegistry``."""
        newest = await self._newest(call)
        return None if newest.ended is None else newest

    async def settle(self) -> None:
        """See ``CallRegistry``."""
        for visit, call in tuple(self._untold.items()):
            tag = self._tag(visit)
            claimed = await self._tables.claim(_version(tag, call), self._sealed(call), ttl_s=self._ttl_s)
            head = await self._tables.get(_head(tag))
            if isinstance(claimed, TablesAway) or isinstance(head, TablesAway):
                return
            self._untold.pop(visit, None)
            # There may be another call by now.
            if self._opened(claimed) == call and head == call.call_id.encode():
                await self._close(tag, call.call_id)

    async def busy(self, clinic: str, users: Collection[str], *, but: str) -> frozenset[str]:
        """See ``CallRegistry``."""
        ours = self._tag(but).encode()
        found = set()
        for user in users:
            where = await self._tables.get(self._busy(clinic, user))
            if isinstance(where, bytes) and where != ours:
                found.add(user)
        return frozenset(found)

    async def _newest(self, call: Call) -> Call:
        """A call after all changes that others have made to it since."""
        while True:
            after = self._opened(await self._tables.get(_version(self._tag(call.visit), call, call.version + 1)))
            if after is None:
                return call
            call = after

    async def _write(self, call: Call) -> None:
        tag, sealed = self._tag(call.visit), self._sealed(call)
        self._remember(call)
        await self._tables.put(_version(tag, call), sealed, ttl_s=self._ttl_s)
        await self._tables.put(_hint(tag, call.call_id), sealed, ttl_s=self._ttl_s)
        await self._mark_busy(None, call)

    async def _close(self, tag: str, call_id: str) -> None:
        await self._tables.delete(_head(tag), _hint(tag, call_id))

    def _keep_untold(self, call: Call) -> None:
        if len(self._untold) >= self._limit:
            self._reached("max_calls")
            del self._untold[next(iter(self._untold))]
        self._untold[call.visit] = call

    async def _mark_busy(self, before: Call | None, after: Call) -> None:
        was = () if before is None else _taking_part(before)
        now = () if after.ended is not None else _taking_part(after)
        for user in set(now).difference(was):
            await self._tables.put(self._busy(after.clinic, user), self._tag(after.visit).encode(), ttl_s=self._ttl_s)
        for user in set(was).difference(now):
            await self._tables.delete(self._busy(after.clinic, user))

    def _remember(self, call: Call) -> None:
        if call.visit not in self._known and len(self._known) >= self._limit:
            self._reached("max_calls")
            del self._known[next(iter(self._known))]
        self._known[call.visit] = call

    def _sealed(self, call: Call) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._seal.encrypt(nonce, msgspec.msgpack.encode(call), None)

    def _opened(self, sealed: bytes | TablesAway | None) -> Call | None:
        """None also for what is not ours to read: another version of the software, or another key."""
        if not isinstance(sealed, bytes):
            return None
        try:
            return _decode(self._seal.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None))
        except (InvalidTag, ValueError, msgspec.MsgspecError):
            return None

    def _tag(self, visit: str) -> str:
        return hmac.digest(self._names, b"visit\0" + visit.encode(), "sha256").hex()[:_TAG_CHARS]

    def _busy(self, clinic: str, user: str) -> str:
        person = f"user\0{clinic}\0{user}".encode("utf-8", "surrogatepass")
        return f"busy:{hmac.digest(self._names, person, 'sha256').hex()[:_TAG_CHARS]}"


def _head(tag: str) -> str:
    return f"call:{{{tag}}}"


def _hint(tag: str, call_id: str) -> str:
    return f"call:{{{tag}}}:{call_id}"


def _version(tag: str, call: Call, version: int | None = None) -> str:
    return f"call:{{{tag}}}:{call.call_id}:{call.version if version is None else version}"


def _taking_part(call: Call) -> tuple[str, ...]:
    return tuple(leg.user for leg in call.legs if leg.state in ("joined", "lost"))
