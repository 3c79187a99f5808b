"""Taking a client's mask off its payload (RFC 6455 section 5.3), as fast as plain Python can.

It must not know frames. Read ``unmask`` first.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ["Unmask", "unmask"]

Unmask: TypeAlias = Callable[[bytes, bytes], bytes]
"""Payload and mask in, the plain payload out."""

# One large number is quicker for the small frames that are the norm, four translations from here on:
# 160 B take 0.4 us against 0.8 us, 1 MiB takes 5 ms against 1 ms.
_TRANSLATE_FROM_BYTES: Final = 512
_XOR: Final = [bytes(byte ^ mask for byte in range(256)) for mask in range(256)]
# A mask times one of these is that mask so many times in a row.
_REPEAT: Final = [int.from_bytes(b"\x01\0\0\0" * times, "little") for times in range(_TRANSLATE_FROM_BYTES // 4 + 1)]


def unmask(payload: bytes, mask: bytes) -> bytes:
    """The payload with the 4 bytes of ``mask`` taken off; doing it twice gives the payload back."""
    size = len(payload)
    if size < _TRANSLATE_FROM_BYTES:
        times = (size + 3) // 4
        key = int.from_bytes(mask, "little") * _REPEAT[times]
        # The last mask may reach beyond the payload; what it leaves there is cut off.
        return (int.from_bytes(payload, "little") ^ key).to_bytes(4 * times, "little")[:size]
    plain = bytearray(payload)
    for offset, byte in enumerate(mask):
        plain[offset::4] = plain[offset::4].translate(_XOR[byte])
    return bytes(plain)
