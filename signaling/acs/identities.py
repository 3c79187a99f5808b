"""Who is who in ACS: an identity per person, made once, kept sealed, and the tokens that it is given.

Of two that make one for the same person at once one is kept, and the other deleted there. Read ``AcsIdentities.token``.
"""

import hashlib
import hmac
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from media.acs import Reason, Trouble
from protocol.errors import Overloaded, Unavailable
from signaling.stores.acs import AcsStore, StoredIdentity

from .service import AcsToken, CommunicationService

__all__ = ["SERVICE", "AcsIdentities", "unless_gone"]

# Who makes the threads and writes there for those who are not in them.
SERVICE: Final = "service"
_NONCE_BYTES: Final = 12
_TRIES: Final = 3


class AcsIdentities:
    """``key`` seals them. Every call raises ``media.acs.Trouble``, and Unavailable or Overloaded of the store."""

    def __init__(self, service: CommunicationService, store: AcsStore, key: bytes) -> None:
        self._service = service
        self._store = store
        self._marks = hmac.digest(key, b"marks", hashlib.sha256)
        self._seal = AESGCM(hmac.digest(key, b"seal", hashlib.sha256))

    async def token(
        self, clinic: str, person: str, scopes: Sequence[str], *, visit: str, until_s: float | None = None
    ) -> tuple[str, AcsToken]:
        """A person's identity, and a token of it for a visit."""
        for _ in range(_TRIES):
            known = await self._store.identity(clinic, person)
            if known is None:
                identity, token = await self._service.create(scopes, until_s=until_s)
                if await self._kept(StoredIdentity(clinic, person, self.mark(identity), b"", visit), identity):
                    return identity, token
                continue
            try:
                identity = self._opened(known)
                token = await self._service.token(identity, scopes, until_s=until_s)
            except Trouble as trouble:
                if trouble.reason is not Reason.UNKNOWN and not isinstance(trouble, _Unreadable):
                    raise
                # Somebody has deleted it there, or this server has another key than the one that has sealed it.
                await self._store.forget(clinic, person)
                continue
            if known.visit != visit:
                await self._store.used(clinic, person, visit)
            return identity, token
        raise Trouble(Reason.UNKNOWN)

    async def identity(self, clinic: str, person: str) -> str | None:
        """A person's identity, None when he has none."""
        known = await self._store.identity(clinic, person)
        return None if known is None else self._opened(known)

    async def whose(self, clinic: str, identity: str) -> str | None:
        """The person of an identity."""
        known = await self._store.whose(clinic, self.mark(identity))
        return None if known is None else known.person

    async def revoke(self, clinic: str, person: str, visit: str) -> None:
        """No token of a person is good any more, unless he has one for another visit by now: then his tokens end by
        themselves, and what they opened is closed.
        """
        known = await self._store.identity(clinic, person)
        if known is not None and known.visit == visit:
            with unless_gone():
                await self._service.revoke(self._opened(known))

    async def erase(self, clinic: str, person: str) -> bool:
        """Nothing of a person is kept there or here; whether anything was."""
        known = await self._store.identity(clinic, person)
        if known is None:
            return False
        with suppress(_Unreadable), unless_gone():
            await self._service.delete(self._opened(known))
        return await self._store.forget(clinic, person)

    def mark(self, identity: str) -> str:
        """The same for the same identity, and nothing to who does not have the key."""
        return hmac.digest(self._marks, identity.encode(), hashlib.sha256).hex()

    async def _kept(self, new: StoredIdentity, identity: str) -> bool:
        sealed = StoredIdentity(new.clinic, new.person, new.mark, self._sealed(new, identity), new.visit)
        try:
            if await self._store.add_identity(sealed):
                return True
        except (Unavailable, Overloaded):
            await self._dropped(identity)
            raise
        await self._dropped(identity)
        return False

    async def _dropped(self, identity: str) -> None:
        """One that nobody will ever use. Lost when ACS cannot be asked now: it costs nothing and leads to nobody."""
        with suppress(Trouble):
            await self._service.delete(identity)

    def _sealed(self, of: StoredIdentity, identity: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._seal.encrypt(nonce, identity.encode(), _bound_to(of))

    def _opened(self, known: StoredIdentity) -> str:
        try:
            return self._seal.decrypt(
                known.sealed[:_NONCE_BYTES], known.sealed[_NONCE_BYTES:], _bound_to(known)
            ).decode()
        except (InvalidTag, ValueError):
            raise _Unreadable from None


class _Unreadable(Trouble):
    """It was sealed with another key: this server cannot use it."""

    def __init__(self) -> None:
        super().__init__(Reason.MISTAKE)


@contextmanager
def unless_gone() -> Iterator[None]:
    """What is not there any more need not be taken away."""
    try:
        yield
    except Trouble as trouble:
        if trouble.reason is not Reason.UNKNOWN:
            raise


def _bound_to(of: StoredIdentity) -> bytes:
    """Whose it is: one that is moved to another row cannot be opened there."""
    return f"{of.clinic}\0{of.person}".encode()
