"""A peer on the server that sends back what it is sent, and measures the way there: whoever will be in a visit tries
camera, microphone and network with it before.

It decodes and encodes, which costs: whoever makes one bounds how many there are and how long each lives. Importing this
loads aiortc. Read ``EchoPeer.answer``.
"""

from typing import Any

from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InvalidAccessError, InvalidStateError

from .aiortc_seam import new_peer
from .candidate import Malformed
from .quality import LinkNumbers

__all__ = ["EchoPeer"]


class _Echo(MediaStreamTrack):
    """What came, one frame at a time; ``frames`` says how many."""

    def __init__(self, source: MediaStreamTrack) -> None:
        super().__init__()
        self.kind = source.kind
        self.frames = 0
        self._source = source

    async def recv(self) -> Any:
        frame = await self._source.recv()
        self.frames += 1
        return frame


class EchoPeer:
    """One check of one person."""

    def __init__(self) -> None:
        self._peer: RTCPeerConnection = new_peer(())
        self._echoes: list[_Echo] = []
        self._peer.on("track", self._take)

    async def answer(self, sdp: str) -> str:
        """The description that answers an offer. Raises Malformed when it is none that can be answered."""
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(sdp=sdp, type="offer"))
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        except (ValueError, KeyError, IndexError, InvalidAccessError, InvalidStateError):
            # aiortc reads a description with little care: whatever it stumbles over is its sender's fault.
            raise Malformed("the description cannot be answered") from None
        return str(self._peer.localDescription.sdp)

    async def measured(self) -> LinkNumbers:
        """What is known of the way by now."""
        report = await self._peer.getStats()
        received = [one for one in report.values() if one.type == "inbound-rtp"]
        answered = [one for one in report.values() if one.type == "remote-inbound-rtp"]
        lost = sum(max(0, one.packetsLost) for one in received)
        total = lost + sum(one.packetsReceived for one in received)
        rtts_ms = [one.roundTripTime * 1_000 for one in answered if one.roundTripTime is not None]
        clock_hz = {"audio": 48_000, "video": 90_000}
        jitters_ms = [one.jitter * 1_000 / clock_hz[one.kind] for one in received]
        return LinkNumbers(
            rtt_ms=round(max(rtts_ms)) if rtts_ms else None,
            loss_permille=round(1_000 * lost / total) if total else 0,
            jitter_ms=round(max(jitters_ms, default=0)),
            has_audio=self._has("audio"),
            has_video=self._has("video"),
        )

    async def close(self) -> None:
        """Let go of it."""
        await self._peer.close()

    def _take(self, track: MediaStreamTrack) -> None:
        echo = _Echo(track)
        self._echoes.append(echo)
        self._peer.addTrack(echo)

    def _has(self, kind: str) -> bool:
        return any(echo.kind == kind and echo.frames > 0 for echo in self._echoes)
