"""The relay of last resort: people who cannot reach each other each reach the server, which passes media on.

Everybody has one peer connection with it. Sound is decoded, and each hears the sum of all others; of the pictures each
gets one, that of whoever spoke last among those who send any. It decodes and encodes, so whoever makes rooms bounds how
many there are. Clock, waiting and tasks are given. Importing this loads aiortc. Read ``Room``, ``RelayLeg.answer``.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Protocol

from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError
from aiortc.mediastreams import MediaStreamError
from aiortc.sdp import candidate_from_sdp
from av import AudioFrame, AudioResampler, VideoFrame

from protocol.contract.calls import IceServer

from .aiortc_seam import Bind, bind_within, new_peer
from .candidate import Malformed
from .relay_sdp import answered, check_offer, identity
from .relay_sound import BLOCK_S, BLOCK_SAMPLES, SAMPLE_RATE, Sound, is_loud, mixed

__all__ = ["RelayLeg", "Room", "World"]

_VIDEO_HZ: Final = 90_000
_FRAME_S: Final = 1 / 30
# Nobody takes the picture of another one before that one was quiet for so long.
_QUIET_BLOCKS: Final = 50
_UNREADABLE: Final = (
    *(ValueError, KeyError, IndexError, AssertionError),
    *(InvalidAccessError, InvalidStateError, InternalError, OperationError),
)
Blocks = dict[int, bytes]


class Cancellable(Protocol):
    """A task."""

    def cancel(self) -> object:
        """End it."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """What a room needs of the process. ``now_s`` only rises; ``bind`` opens a UDP port, as ``aiortc_seam.Bind`` says.

    ``ports``: those that it may take, empty: any. ``address``: where its own addresses are reached from outside, "" as
    they are. ``max_lag_s``: of sound that waits; ``late`` is told when more did. ``max_bps``: what one person may send.
    """

    now_s: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]
    spawn: Callable[[Coroutine[Any, Any, None]], Cancellable]
    late: Callable[[], None]
    bind: Bind
    ports: Sequence[int] = ()
    address: str = ""
    max_lag_s: float = 0.1
    max_bps: int = 2_000_000


class Room:
    """One call that goes through the server. ``on_blocks`` is given what everybody says, 20 ms at a time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.legs: dict[int, RelayLeg] = {}
        self.on_blocks: Callable[[int, Blocks], None] | None = None
        self._began_s = world.now_s()
        self._n = 0
        self._blocks: Blocks = {}
        # Who spoke last, first; and when the first of them did.
        self._speakers: list[int] = []
        self._spoke_n = 0

    def since_s(self) -> float:
        """How long it has been open."""
        return self.world.now_s() - self._began_s

    async def until(self, n: int) -> None:
        """Wait for the block of that number."""
        await self.world.sleep(max(0.0, n * BLOCK_S - self.since_s()))

    def heard_by(self, number: int, n: int) -> bytes:
        """What somebody hears in block ``n``. Whoever asks first has time pass for all."""
        if n > self._n:
            self._advance(n)
        return mixed(block for other, block in self._blocks.items() if other != number)

    def seen_by(self, number: int) -> VideoFrame | None:
        """The newest picture that somebody should see."""
        others = [other for other in (*self._speakers, *self.legs) if other != number and other in self.legs]
        return next((self.legs[other].picture for other in others if self.legs[other].picture is not None), None)

    async def close(self) -> None:
        """Let go of everybody."""
        legs, self.legs = tuple(self.legs.values()), {}
        for leg in legs:
            await leg.close()

    def _advance(self, n: int) -> None:
        missed, self._n, self._blocks = n - self._n - 1, n, {}
        for number, leg in self.legs.items():
            leg.sound.skip(missed)
            block = leg.sound.take()
            if block is not None:
                self._blocks[number] = block
                self._spoke(number, block)
        if self.on_blocks is not None:
            self.on_blocks(n, self._blocks)

    def _spoke(self, number: int, block: bytes) -> None:
        if not is_loud(block):
            return
        if self._speakers[:1] == [number]:
            self._spoke_n = self._n
        elif not self._speakers or self._n - self._spoke_n > _QUIET_BLOCKS:
            self._speakers = [number, *(one for one in self._speakers if one != number)]
            self._spoke_n = self._n


class _Heard(MediaStreamTrack):
    """What one person hears."""

    kind = "audio"

    def __init__(self, room: Room, number: int) -> None:
        super().__init__()
        self._room = room
        self._number = number
        self._n = 0

    async def recv(self) -> AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        # What a stall has made late is left out.
        self._n = max(self._n + 1, int(self._room.since_s() / BLOCK_S))
        await self._room.until(self._n)
        frame = AudioFrame(format="s16", layout="stereo", samples=BLOCK_SAMPLES)
        frame.planes[0].update(self._room.heard_by(self._number, self._n))
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, self._n * BLOCK_SAMPLES, Fraction(1, SAMPLE_RATE)
        return frame


class _Seen(MediaStreamTrack):
    """What one person sees; nothing while nobody sends a picture."""

    kind = "video"

    def __init__(self, room: Room, number: int) -> None:
        super().__init__()
        self._room = room
        self._number = number
        self._last: VideoFrame | None = None

    async def recv(self) -> VideoFrame:
        while self.readyState == "live":
            await self._room.world.sleep(_FRAME_S)
            frame = self._room.seen_by(self._number)
            if frame is not None and frame is not self._last:
                self._last = frame
                return frame
        raise MediaStreamError


class RelayLeg:
    """One person of a room. ``may_talk``: what he sends is passed on; otherwise he is asked to send nothing.

    ``frames`` counts what came and was decoded, by kind.
    """

    def __init__(self, room: Room, number: int, *, may_talk: bool, servers: Sequence[IceServer] = ()) -> None:
        self.sound = Sound(room.world.max_lag_s, room.world.late)
        self.picture: VideoFrame | None = None
        self.frames = {"audio": 0, "video": 0}
        self.on_end: Callable[[], None] = lambda: None
        self._room = room
        self._number = number
        self._may_talk = may_talk
        self._identity: frozenset[str] = frozenset()
        self._to_stereo = AudioResampler(format="s16", layout="stereo", rate=SAMPLE_RATE)
        self._peer: RTCPeerConnection = new_peer(servers, one_transport=True)
        self._listening: list[Cancellable] = []
        self._peer.on("track", lambda track: self._listening.append(room.world.spawn(self._listen(track))))
        self._peer.on("connectionstatechange", self._moved)

    @property
    def is_connected(self) -> bool:
        """Whether media can flow."""
        return bool(self._peer.connectionState == "connected")

    def goes_on_with(self, sdp: str) -> bool:
        """Whether an offer is one of the connection that there is: another medium, not another network."""
        return self._identity == identity(sdp)

    async def answer(self, sdp: str) -> str:
        """The description that answers an offer. Raises Malformed when it is none that can be answered."""
        check_offer(sdp)
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(sdp=sdp, type="offer"))
            self._add_tracks()
            if not self._identity and self._room.world.ports:
                bind_within(self._peer, self._room.world.bind, self._room.world.ports)
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        except _UNREADABLE:
            # As with ``EchoPeer``: whatever aiortc stumbles over is its sender's fault.
            raise Malformed("the description cannot be answered") from None
        self._identity = identity(sdp)
        world = self._room.world
        return answered(self._peer.localDescription.sdp, address=world.address, max_bps=world.max_bps)

    async def add_candidate(self, text: str, mid: str | None, line: int | None) -> None:
        """Another way to the person. One that makes no sense is his fault, and ends nothing."""
        with suppress(*_UNREADABLE):
            candidate = candidate_from_sdp(text.partition(":")[2])
            candidate.sdpMid, candidate.sdpMLineIndex = mid, line
            await self._peer.addIceCandidate(candidate)

    async def received_bytes(self) -> int:
        """What has come of this person over the network so far."""
        report = await self._peer.getStats()
        return sum(one.bytesReceived for one in report.values() if one.type == "transport")

    async def close(self) -> None:
        """Let go of the person."""
        self.on_end = lambda: None
        # A track whose connection has never come about has no end.
        for one in self._listening:
            one.cancel()
        self.picture = None
        await self._peer.close()

    def _add_tracks(self) -> None:
        for transceiver in self._peer.getTransceivers():
            if not isinstance(transceiver.sender.track, _Heard | _Seen):
                kind = _Heard if transceiver.kind == "audio" else _Seen
                self._peer.addTrack(kind(self._room, self._number))
            if not self._may_talk:
                transceiver.direction = "sendonly"

    async def _listen(self, track: MediaStreamTrack) -> None:
        with suppress(MediaStreamError):
            while True:
                # Also of who may not talk: what nobody takes would be kept.
                frame = await track.recv()
                if self._may_talk and self._room.legs.get(self._number) is self:
                    self.frames[track.kind] += 1
                    self._came(frame)
        if track.kind == "video":
            self.picture = None

    def _came(self, frame: Any) -> None:
        if isinstance(frame, VideoFrame):
            # One clock for all: whose picture is seen may change.
            frame.pts, frame.time_base = round(self._room.since_s() * _VIDEO_HZ), Fraction(1, _VIDEO_HZ)
            self.picture = frame
            return
        for stereo in self._to_stereo.resample(frame):
            self.sound.add(stereo.to_ndarray().tobytes())

    def _moved(self) -> None:
        if self._peer.connectionState in ("failed", "closed"):
            self.on_end()
