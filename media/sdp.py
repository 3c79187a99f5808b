"""A session description (RFC 8866, RFC 8829) before it is relayed: bounded, of known words, encrypted, one identity.

It is opaque to the server but for that. What it must not be is a way to attack the other end: no foreign lines, no
unencrypted profile, one SHA-256 fingerprint for all of it, and no candidates that would have packets sent to where
nobody may (those are taken out, since browsers list what they have). This module must not know calls. Read
``check_description`` first.
"""

import re
from dataclasses import dataclass
from typing import Final

from .candidate import HostPolicy, Malformed, check_candidate

__all__ = ["Description", "check_description"]

MAX_SDP_BYTES: Final = 16_384
MAX_LINE_CHARS: Final = 512
MAX_SECTIONS: Final = 16
_PROFILES: Final = frozenset({"UDP/TLS/RTP/SAVPF", "UDP/DTLS/SCTP", "TCP/DTLS/SCTP"})
_TYPES: Final = frozenset("vosiuepcbtrzkam")
# RFC 8839, 8122, 8842, 8843, 8844, 5761, 5506, 8285, 8851, 8853, 8841, 5576, 4585, 8830, 8866, and what browsers add.
_ATTRIBUTES: Final = frozenset(
    (
        *("group", "msid-semantic", "extmap-allow-mixed", "ice-lite", "ice-options", "ice-ufrag", "ice-pwd"),
        *("fingerprint", "tls-id", "setup", "mid", "extmap", "sendrecv", "sendonly", "recvonly", "inactive", "msid"),
        *("rtcp", "rtcp-mux", "rtcp-mux-only", "rtcp-rsize", "rtcp-fb", "rtpmap", "fmtp", "ssrc", "ssrc-group"),
        *("candidate", "end-of-candidates", "sctp-port", "sctpmap", "max-message-size", "rid", "simulcast", "ptime"),
        *("maxptime", "bundle-only", "identity", "imageattr", "label", "content", "framerate", "x-google-flag"),
    )
)
# RFC 8866, 6.7: what has no direction goes both ways.
_DIRECTIONS: Final = frozenset(("a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"))
_NOTHING_SENT: Final = frozenset(("a=recvonly", "a=inactive"))
_SHA256: Final = re.compile(r"[0-9A-F]{2}(?::[0-9A-F]{2}){31}")
_MEDIA: Final = re.compile(r"(?:audio|video|application) [0-9]{1,5} (?P<profile>[A-Z/]+)(?: [\x21-\x7e]+)+")


@dataclass(frozen=True, slots=True)
class Description:
    """``sdp`` as it may be relayed. ``fingerprint``: SHA-256 of the certificate that its sender will show, upper case
    hexadecimal with colons. ``sends``: whether its sender may send sound, pictures or data with it.
    """

    sdp: str
    fingerprint: str
    sends: bool


def check_description(sdp: str, policy: HostPolicy) -> Description:
    """What of a description may be relayed. Raises Malformed."""
    if len(sdp.encode("utf-8", "surrogatepass")) > MAX_SDP_BYTES:
        raise Malformed("the description is too long")
    if not sdp.isprintable() and not _only_line_ends(sdp):
        raise Malformed("the description has characters that it must not")
    lines = sdp.removesuffix("\n").removesuffix("\r").split("\n")
    kept = [line for line in (_checked(line.removesuffix("\r")) for line in lines) if _may_stay(line, policy)]
    if not kept or kept[0] != "v=0":
        raise Malformed("the description does not begin as one")
    sections = _sections(kept)
    if not 2 <= len(sections) <= MAX_SECTIONS + 1:
        raise Malformed("the description has no media, or too many")
    return Description("".join(f"{line}\r\n" for line in kept), _fingerprint(sections), _sends(sections))


def _only_line_ends(sdp: str) -> bool:
    plain = sdp.replace("\r\n", "").replace("\n", "")
    return plain.isprintable() and plain.isascii()


def _checked(line: str) -> str:
    if len(line) > MAX_LINE_CHARS:
        raise Malformed("a line of the description is too long")
    if len(line) < 3 or line[1] != "=" or line[0] not in _TYPES or not line.isascii():
        raise Malformed("a line of the description is none")
    name, _, value = line[2:].partition(":")
    if line[0] == "a" and name not in _ATTRIBUTES:
        raise Malformed("the description has an attribute that is not known")
    if line[0] == "m":
        found = _MEDIA.fullmatch(line[2:])
        if found is None or found["profile"] not in _PROFILES:
            raise Malformed("the description has media that is not encrypted, or none that is known")
    if line.startswith("a=fingerprint:sha-256 ") and not _SHA256.fullmatch(value.partition(" ")[2].upper()):
        raise Malformed("the description has a fingerprint that is none")
    return line


def _may_stay(line: str, policy: HostPolicy) -> bool:
    """Candidates that nobody may be sent to are left out, as if they had not been gathered."""
    if not line.startswith("a=candidate:"):
        return True
    try:
        check_candidate(line[2:], policy)
    except Malformed:
        return False
    return True


def _sections(lines: list[str]) -> list[list[str]]:
    """The session's own lines first, then those of each medium."""
    sections: list[list[str]] = [[]]
    for line in lines:
        if line.startswith("m="):
            sections.append([])
        sections[-1].append(line)
    return sections


def _sends(sections: list[list[str]]) -> bool:
    """Whether there is a medium that its sender may send. A data channel has no direction: both ends send."""
    session, *media = sections
    return any(not _only_receives(lines, session) for lines in media)


def _only_receives(lines: list[str], session: list[str]) -> bool:
    _, port, *_ = lines[0].split(" ")
    if port == "0" and "a=bundle-only" not in lines:
        # Refused (RFC 3264, 6): nothing flows at all.
        return True
    said = _DIRECTIONS.intersection(lines) or _DIRECTIONS.intersection(session)
    return lines[0].startswith(("m=audio", "m=video")) and bool(said) and said <= _NOTHING_SENT


def _fingerprint(sections: list[list[str]]) -> str:
    """The one of all media: each has its own or that of the session, and they are the same."""
    session, *media = ([_of_sha256(line) for line in lines if _is_sha256(line)] for lines in sections)
    found = [own or session for own in media]
    if any(len(one) != 1 for one in found) or len({one[0] for one in found}) != 1:
        raise Malformed("the description must have exactly one SHA-256 fingerprint")
    return found[0][0]


def _is_sha256(line: str) -> bool:
    return line.lower().startswith("a=fingerprint:sha-256 ")


def _of_sha256(line: str) -> str:
    return line.rpartition(" ")[2].upper()
