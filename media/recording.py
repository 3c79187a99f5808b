"""A recording as it lies on a disk: chunks under AES-256-GCM that only fit in their order, with an end that must be.

Each file has a random key of its own, wrapped by one of the operator's, so that whoever deletes a file has deleted its
key. The number of a chunk and whether it is the last one are its nonce ("STREAM", Hoang et al. 2015), and the head is
authenticated with each: nothing can be moved, left out, joined or cut off unnoticed. This module must not know where
files are. Read ``begin``, then ``opened``.
"""

import hashlib
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import replace

__all__ = [
    "CHUNK_BYTES",
    "KEY_BYTES",
    "RecordingHead",
    "RecordingMistake",
    "Sealer",
    "begin",
    "key_id",
    "opened",
    "read",
]

MAGIC: Final = b"AURREC1\n"
KEY_BYTES: Final = 32
CHUNK_BYTES: Final = 65_536
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_MAX_HEAD_BYTES: Final = 4_096


class RecordingMistake(ValueError):
    """A file that is not, or not wholly, what was recorded; ``args[0]`` says how."""


class RecordingHead(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What can be read of a recording without a key. ``began_at_s``: Unix seconds. ``peers``: whose voices are in it,
    by their numbers in the call, one stream of sound each in this order.

    ``key_id`` names the operator's key, ``wrapped`` is the file's own under it.
    """

    recording: str
    visit: str
    device: str
    began_at_s: float
    peers: tuple[int, ...]
    container: str = "matroska"
    key_id: str = ""
    wrapped: bytes = b""


class Sealer:
    """Makes chunks of what is recorded. ``sealed_bytes``: of all of them."""

    def __init__(self, key: bytes, head: bytes) -> None:
        self.sealed_bytes = 0
        self._cipher = AESGCM(key)
        self._about = hashlib.sha256(head).digest()
        self._n = 0
        self._waiting = bytearray()

    def seal(self, plain: bytes) -> bytes:
        """The chunks that are full by now."""
        self._waiting += plain
        sealed = b""
        while len(self._waiting) >= CHUNK_BYTES:
            sealed += self._chunk(bytes(self._waiting[:CHUNK_BYTES]), is_last=False)
            del self._waiting[:CHUNK_BYTES]
        return sealed

    def flush(self) -> bytes:
        """What waits, as a chunk of its own: so much less is lost when the process ends."""
        plain, self._waiting = bytes(self._waiting), bytearray()
        return self._chunk(plain, is_last=False) if plain else b""

    def end(self) -> bytes:
        """The last chunk."""
        plain, self._waiting = bytes(self._waiting), bytearray()
        return self._chunk(plain, is_last=True)

    def _chunk(self, plain: bytes, *, is_last: bool) -> bytes:
        sealed = self._cipher.encrypt(_nonce(self._n, is_last=is_last), plain, self._about)
        self._n += 1
        self.sealed_bytes += len(sealed) + 4
        return len(sealed).to_bytes(4, "big") + sealed


def begin(head: RecordingHead, operator_key: bytes, *, key: bytes, nonce: bytes) -> tuple[bytes, Sealer]:
    """The head of a new file, and what seals the rest. ``key`` and ``nonce`` are random and never used again."""
    named = replace(head, key_id=key_id(operator_key))
    wrapped = nonce + AESGCM(operator_key).encrypt(nonce, key, msgspec.json.encode(named))
    body = msgspec.json.encode(replace(named, wrapped=wrapped))
    written = MAGIC + len(body).to_bytes(4, "big") + body
    return written, Sealer(key, written)


def key_id(operator_key: bytes) -> str:
    """A name of a key that tells nothing of it."""
    return hashlib.sha256(b"recording-key\0" + operator_key).hexdigest()[:16]


def read(file: BinaryIO) -> RecordingHead:
    """The head of a file; what follows is not read. Raises RecordingMistake."""
    return _head(file)[0]


def opened(file: BinaryIO, operator_keys: tuple[bytes, ...]) -> Iterator[bytes]:
    """What was recorded, piece by piece.

    Raises RecordingMistake: before anything for a file that is none or of another key, after what could be proved for
    one that was changed or has no end.
    """
    head, written = _head(file)
    operator_key = next((one for one in operator_keys if key_id(one) == head.key_id), None)
    if operator_key is None:
        raise RecordingMistake(f"it needs the key {head.key_id}")
    about = msgspec.json.encode(replace(head, wrapped=b""))
    try:
        key = AESGCM(operator_key).decrypt(head.wrapped[:_NONCE_BYTES], head.wrapped[_NONCE_BYTES:], about)
    except (InvalidTag, ValueError):
        raise RecordingMistake("its head was changed") from None
    yield from _chunks(file, AESGCM(key), hashlib.sha256(written).digest())


def _chunks(file: BinaryIO, cipher: AESGCM, about: bytes) -> Iterator[bytes]:
    n = 0
    while len(size := file.read(4)) == 4:
        length = int.from_bytes(size, "big")
        sealed = file.read(length) if length <= CHUNK_BYTES + _TAG_BYTES else b""
        if len(sealed) != length:
            break
        plain, is_last = _opened(cipher, n, sealed, about)
        yield plain
        n += 1
        if is_last:
            if file.read(1):
                raise RecordingMistake("something was added behind its end")
            return
    raise RecordingMistake("its end is missing: the server ended before it, or it was cut")


def _opened(cipher: AESGCM, n: int, sealed: bytes, about: bytes) -> tuple[bytes, bool]:
    for is_last in (False, True):
        try:
            return cipher.decrypt(_nonce(n, is_last=is_last), sealed, about), is_last
        except InvalidTag:
            continue
    raise RecordingMistake("it was changed")


def _head(file: BinaryIO) -> tuple[RecordingHead, bytes]:
    start = file.read(len(MAGIC) + 4)
    length = int.from_bytes(start[len(MAGIC) :], "big")
    if not start.startswith(MAGIC) or len(start) != len(MAGIC) + 4 or length > _MAX_HEAD_BYTES:
        raise RecordingMistake("it is not a recording")
    body = file.read(length)
    try:
        return msgspec.json.decode(body, type=RecordingHead), start + body
    except msgspec.MsgspecError:
        raise RecordingMistake("it is not a recording") from None


def _nonce(n: int, *, is_last: bool) -> bytes:
    return n.to_bytes(_NONCE_BYTES - 1, "big") + bytes([is_last])
