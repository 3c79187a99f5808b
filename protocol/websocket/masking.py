"""Taking a client's mask off its payload (RFC 6455 section 5.3), as fast as plain Python can.

It must not know frames. Read ``unmask`` first.
"""

from typing import Final

__all__ = ["unmask"]

# One large number is quicker for the small frames that are the norm, four translations from here on:
# 130 B take 0.4 us against 0.8 us, 1 MiB takes 5 ms against 1 ms.
_TRANSLATE_FROM_BYTES: Final = 512
_XOR: Final = [bytes(byte ^ mask for byte in range(256)) for mask in range(256)]


def unmask(payload: bytes | bytearray, mask: bytes | bytearray) -> bytes:
    """The payload with the 4 bytes of ``mask`` taken off; doing it twice gives the payload back."""
    size = len(payload)
    if size < _TRANSLATE_FROM_BYTES:
        key = int.from_bytes((mask * (size // 4 + 1))[:size], "little")
        return (int.from_bytes(payload, "little") ^ key).to_bytes(size, "little")
    plain = bytearray(payload)
    for offset, byte in enumerate(mask):
        plain[offset::4] = plain[offset::4].translate(_XOR[byte])
    return bytes(plain)
