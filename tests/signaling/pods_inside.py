"""What one pod asks of another inside, said by a test: with the key, with another one, or with none."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from signaling.pods.internal import InternalServer
from signaling.pods.internal_client import InternalClient
from signaling.pods.signature import Signer
from tests.signaling.conftest import KEY, House

__all__ = ["inside", "internal_key", "internal_of", "signer"]


def internal_key(key: bytes = KEY) -> bytes:
    """What pods sign with that share a signing key."""
    return hmac.digest(key, b"internal", hashlib.sha256)


def internal_of(house: House) -> InternalServer:
    """The internal listener of a pod."""
    assert house.parts.pods is not None
    return house.parts.pods.internal


def signer(house: House, *, key: bytes = KEY, pod: str = "test") -> Signer:
    """What signs as a pod would whose clock is that of ``house``."""
    return Signer(internal_key(key), pod=pod, clock=house.wall)


@asynccontextmanager
async def inside(house: House, *, key: bytes = KEY) -> AsyncIterator[InternalClient]:
    """A client of internal addresses."""
    client = InternalClient(signer(house, key=key), timeout_s=5)
    try:
        yield client
    finally:
        await client.close()
