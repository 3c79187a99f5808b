"""A request that is sent again with its ``Idempotency-Key`` gets its first answer, and is carried out once.

Only what came about is kept: a request that failed or was refused may be tried again with the same key. Knows no
resource. Read ``Replays.once`` first.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import Struct

from protocol.errors import AuricleError, BadArgument
from signaling.auth import Principal
from signaling.stores.rest_answers import AnswerKey, KeptAnswer, RestAnswers

from .problems import InProgress, KeyConflict
from .resource import Route

__all__ = ["KEY_PATTERN", "Answered", "Replays", "key_of", "new_id_of", "request_hash"]

KEY_PATTERN: Final = "^[!-~]{1,255}$"
_KEY: Final = re.compile("[!-~]{1,255}")


class Answered(Struct, frozen=True):
    """A whole answer, as it goes out and as it is kept."""

    status: int
    body: bytes
    headers: dict[str, str]


_PACK: Final = msgspec.msgpack.Encoder()
_UNPACK: Final = msgspec.msgpack.Decoder(Answered)


def key_of(principal: Principal, header: str | None) -> AnswerKey | None:
    """The caller's key, None without one. Raises BadArgument for one that cannot be kept."""
    if header is None:
        return None
    if not _KEY.fullmatch(header):
        raise BadArgument("Idempotency-Key: must be 1 to 255 visible ASCII characters")
    return AnswerKey(principal.clinic, principal.user, header)


def new_id_of(key: AnswerKey, hashed: str) -> str:
    """The name of what a request with that key makes: nobody else's, the same each time, and no other request's.

    ``hashed`` is the ``request_hash``: a key that was forgotten may stand for something new.
    """
    named = msgspec.json.encode((hashed, key.clinic, key.author, key.key))
    return hashlib.sha256(named).hexdigest()[:24]


def request_hash(route: Route, path: Mapping[str, str], body: bytes) -> str:
    """What a key is bound to: the route, what its path names, and the body in its canonical form."""
    return hashlib.sha256(msgspec.json.encode((route.key, sorted(path.items()), body.decode()))).hexdigest()


class Replays:
    """Answers that are given once more. ``clock`` gives Unix seconds."""

    def __init__(self, answers: RestAnswers, clock: Callable[[], float]) -> None:
        self._answers = answers
        self._clock = clock

    async def once(self, key: AnswerKey, hashed: str, carry_out: Callable[[], Awaitable[Answered]]) -> Answered:
        """The first answer to the request, or that of carrying it out now.

        Raises:
            KeyConflict: the key has stood for another request.
            InProgress: the request is being carried out.
        """
        kept = await self._answers.claim(key, hashed, self._clock())
        if kept is not None:
            return _again(kept, hashed)
        try:
            answered = await carry_out()
        except BaseException:
            await self._give_free(key, hashed)
            raise
        if answered.status >= HTTPStatus.MULTIPLE_CHOICES:
            await self._give_free(key, hashed)
            return answered
        # What was made stands, even if this cannot be written: the same request finds it, by its name.
        with suppress(AuricleError):
            await self._answers.keep(key, hashed, _PACK.encode(answered))
        return answered

    async def _give_free(self, key: AnswerKey, hashed: str) -> None:
        # A claim that cannot be given free grows old.
        with suppress(AuricleError):
            await self._answers.drop(key, hashed)


def _again(kept: KeptAnswer, hashed: str) -> Answered:
    if kept.request_hash != hashed:
        raise KeyConflict("this Idempotency-Key has stood for another request")
    if kept.answer is None:
        raise InProgress("the first request with this Idempotency-Key is still being carried out")
    return _UNPACK.decode(kept.answer)
