"""What one pod asks of another inside, said by a test: with the key, with another one, or with none."""

import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from signaling.pods.internal import InternalServer
from signaling.pods.internal_client import InternalClient
from signaling.pods.signature import Signer
from tests.authority import Authority
from tests.signaling.conftest import KEY, House

__all__ = ["certificates", "inside", "internal_key", "internal_of", "shown_by", "signer"]


def certificates(folder: Path, *, authority: Authority | None = None) -> dict[str, Any]:
    """The configuration of pods of this machine that ask each other over TLS."""
    authority = authority or Authority(folder)
    certificate, key = authority.certificate("pod", "127.0.0.1")
    return {
        "internal_cert_file": str(certificate),
        "internal_key_file": str(key),
        "internal_ca_file": str(authority.ca_file),
    }


def shown_by(house: House) -> ssl.SSLContext | bool:
    """What a pod asks others with, for a client of a test."""
    assert house.parts.pods is not None
    tls = house.parts.pods._tls
    return True if tls is None else tls.client


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
    assert house.parts.pods is not None
    client = InternalClient(signer(house, key=key), timeout_s=5, tls=house.parts.pods._tls)
    try:
        yield client
    finally:
        await client.close()
