"""Descriptions between a participant of a call and the server's own peer: what may be offered to it, what it says.

One sound and one picture each way, and nothing else; where it is reached, when that is not what it sees of itself; and
how much it takes. Like ``sdp`` this knows no call. Read ``check_offer`` and ``answered`` first.
"""

import re
from typing import Final

from .candidate import Malformed

__all__ = ["answered", "check_offer", "identity"]

_AUDIO_KBPS: Final = 128
_KINDS: Final = re.compile(r"^m=([a-z]+) ", re.MULTILINE)
_IDENTITY: Final = re.compile(r"^a=(?:ice-ufrag:|ice-pwd:|fingerprint:sha-256 )\S+", re.MULTILINE | re.IGNORECASE)
_HOST: Final = re.compile(r"(a=candidate:\S+ \d+ udp \d+ )(\S+)( \d+ typ host)", re.IGNORECASE)


def check_offer(sdp: str) -> None:
    """Raises Malformed for more than one sound, more than one picture, or anything else."""
    kinds = _KINDS.findall(sdp)
    if sorted(kinds) not in (["audio"], ["audio", "video"], ["video"]):
        raise Malformed("the relay takes one sound and one picture, and nothing else")


def identity(sdp: str) -> frozenset[str]:
    """What stays the same while an end goes on with the connection that it has: credentials and certificate."""
    return frozenset(found.group().lower() for found in _IDENTITY.finditer(sdp))


def answered(sdp: str, *, address: str, max_bps: int) -> str:
    """An answer as it is sent: reached at ``address`` if there is one, and saying how much may be sent (RFC 8866)."""
    lines = []
    kind = ""
    for line in sdp.splitlines():
        kind = line[2:].partition(" ")[0] if line.startswith("m=") else kind
        lines.append(_HOST.sub(rf"\g<1>{address}\g<3>", line) if address else line)
        if line.startswith("c=") and kind:
            kbps = _AUDIO_KBPS if kind == "audio" else max(1, max_bps // 1_000 - _AUDIO_KBPS)
            lines += [f"b=AS:{kbps}", f"b=TIAS:{kbps * 1_000}"]
    return "".join(f"{line}\r\n" for line in lines)
