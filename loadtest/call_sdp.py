"""A description for benchmarks of signalling: as a browser writes one of sound, with nobody behind it.

It must pass the server's checks, so that what is measured is what everybody gets. Read ``DESCRIPTION``.
"""

from typing import Final

__all__ = ["CANDIDATES", "DESCRIPTION"]

_FINGERPRINT: Final = ":".join(f"{number:02X}" for number in range(32))
_LINES: Final = (
    *(
        "v=0",
        "o=- 4611731400430051336 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "a=msid-semantic: WMS s",
    ),
    *("m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126", "c=IN IP4 0.0.0.0", "a=rtcp:9 IN IP4 0.0.0.0"),
    *("a=ice-ufrag:abcd", "a=ice-pwd:abcdefghijklmnopqrstuvwx", "a=ice-options:trickle"),
    *(f"a=fingerprint:sha-256 {_FINGERPRINT}", "a=setup:actpass", "a=mid:0", "a=sendrecv", "a=msid:s t", "a=rtcp-mux"),
    *("a=rtpmap:111 opus/48000/2", "a=rtcp-fb:111 transport-cc", "a=fmtp:111 minptime=10;useinbandfec=1"),
    *("a=rtpmap:63 red/48000/2", "a=fmtp:63 111/111", "a=rtpmap:9 G722/8000", "a=rtpmap:0 PCMU/8000"),
    *("a=rtpmap:8 PCMA/8000", "a=rtpmap:13 CN/8000", "a=rtpmap:110 telephone-event/48000"),
    *("a=rtpmap:126 telephone-event/8000", "a=ssrc:1001 cname:c", "a=ssrc:1001 msid:s t"),
)
DESCRIPTION: Final = "".join(f"{line}\r\n" for line in _LINES)
# Public addresses that are nobody's (RFC 5737), and one behind a name.
CANDIDATES: Final = (
    "candidate:1 1 udp 2122260223 0a1b2c3d-0a1b-4a1b-8a1b-0a1b2c3d4e5f.local 51000 typ host generation 0 ufrag abcd",
    "candidate:2 1 udp 1686052607 198.35.26.96 51000 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag abcd",
)
