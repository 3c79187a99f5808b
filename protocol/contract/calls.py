"""Calls: seeing and hearing each other in a visit. The server carries what two ends say to each other.

A participant of a call is a ``peer``, a small number that it keeps for as long as the call lasts. Each pair of peers
negotiates by itself; in a call with the backend ``relay`` each negotiates with the server's own peer ``RELAY_PEER``
instead, which passes media on. Descriptions and candidates are never logged.
"""

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, UnsetType

from .base import NO_NUL, Answer, Id, Wire

__all__ = [
    "RELAY_PEER",
    "AcsErased",
    "AcsJoin",
    "Advice",
    "AnswerCall",
    "AnswerRecording",
    "AnsweredElsewhere",
    "AskRecording",
    "CallAnswer",
    "CallBackend",
    "CallBackendChanged",
    "CallChanged",
    "CallEndReason",
    "CallEnded",
    "CallPeer",
    "CallState",
    "CallToken",
    "DeclineCall",
    "DeviceCheckAnswer",
    "DeviceCheckResult",
    "EndCall",
    "EndDeviceCheck",
    "FallBackCall",
    "FallBackReason",
    "Grade",
    "IceServer",
    "IncomingCall",
    "LegReason",
    "LegState",
    "Media",
    "QualityChanged",
    "RecordingState",
    "RefreshCallToken",
    "ReportQuality",
    "SendSignal",
    "SetCallMedia",
    "Signal",
    "SignalKind",
    "StartCall",
    "StartDeviceCheck",
]

Media = Literal["audio", "video"]
CallState = Literal["ringing", "active", "ended"]
# ringing: asked and not answered. joined: takes part. lost: its connection has gone, and may come back. left: over.
LegState = Literal["ringing", "joined", "lost", "left"]
LegReason = Literal["declined", "busy", "missed", "hung_up", "gone", "cancelled", "ended", "over_limit"]
# over_limit: somebody sent more than the relay takes. relay_gone: the pod that passed media on is no more.
CallEndReason = Literal[
    "cancelled",
    "declined",
    "busy",
    "no_answer",
    "hung_up",
    "gone",
    "visit_ended",
    "no_video",
    "over_limit",
    "relay_gone",
]
# What carries sound and picture: the two ends themselves, this server, which decrypts them, or Azure Communication
# Services.
CallBackend = Literal["webrtc", "relay", "acs"]
# throttled, busy: more is asked for than it gives. away, slow: it is not there. refused: it does not take our key.
# media_lost: an end has said that it hears nothing. consent_withdrawn: the patient does not want to be seen.
FallBackReason = Literal[
    "throttled", "busy", "away", "slow", "refused", "unknown", "mistake", "media_lost", "consent_withdrawn"
]
# asked: not everybody who takes part has agreed, and nothing is recorded.
RecordingState = Literal["off", "asked", "on"]
# restart: an offer with new ICE credentials, after a network has changed. An end that cannot restart in place answers
# it with a new peer connection.
SignalKind = Literal["offer", "answer", "candidate", "restart"]
Grade = Literal["good", "fair", "bad"]
# turn_tcp: media over a TURN server and TCP. no_live_tuning: leave Advanced mode, which ends by itself if this goes on.
Advice = Literal["check_microphone", "lower_video", "audio_only", "turn_tcp", "better_network", "no_live_tuning"]
Peer = Annotated[int, Meta(ge=0, le=63)]
# The server's own peer: no participant of a call ever has this number.
RELAY_PEER: Final = 63


class IceServer(Wire, frozen=True, kw_only=True):
    """As a browser's ``RTCIceServer`` takes it. Credentials of TURN servers end by themselves."""

    urls: tuple[str, ...]
    username: str | UnsetType = UNSET
    credential: str | UnsetType = UNSET


class CallPeer(Wire, frozen=True, kw_only=True):
    """One participant as the others see it. ``muted`` and what follows is what it has said of itself.

    ``wants_relay``: it cannot reach somebody. ``agrees``: it may be recorded.
    """

    peer: int
    user: str
    state: LegState
    reason: LegReason | UnsetType = UNSET
    muted: bool = False
    held: bool = False
    camera: bool = False
    screen: bool = False
    wants_relay: bool = False
    agrees: bool = False


class StartCall(Wire, frozen=True, kw_only=True):
    """Ring the others of a visit. While a call goes on there already, this joins it.

    ``invite``: only these; without it everybody who is in the visit. ``backend``: without it the clinic's own;
    ``relay`` in a call that goes on is a wish, and moves the call once everybody who takes part has it.
    """

    visit: Id
    media: Media
    backend: CallBackend | UnsetType = UNSET
    invite: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=8)] | UnsetType = UNSET


class AcsJoin(Wire, frozen=True, kw_only=True):
    """What the calling SDK of Azure Communication Services needs to join. The token is the caller's alone, and short.

    Exactly one of ``group_id`` and ``room_id`` is there; ``thread_id`` when the chat is there too. ``display_name`` is
    a role, never a name. ``RefreshCallToken`` gives the next token, best ten minutes before ``expires_at``.
    """

    token: str
    expires_at: str
    user_id: str
    endpoint: str
    display_name: str
    group_id: str | UnsetType = UNSET
    room_id: str | UnsetType = UNSET
    thread_id: str | UnsetType = UNSET

    def __repr__(self) -> str:
        """A token must not reach a log through a struct's text."""
        return "AcsJoin(...)"


class AcsErased(Answer, frozen=True, kw_only=True):
    """Nothing of him is in Azure Communication Services any more."""


class CallAnswer(Answer, frozen=True, kw_only=True):
    """The caller takes part as ``peer``.

    With the backend ``acs`` there is ``acs`` and nothing to offer or to signal: its SDK does that.

    It makes an offer to each joined peer of ``offer_to``; the others make one to it. Of two offers that cross, the one
    of the peer with the lower number counts.
    """

    call_id: str
    backend: CallBackend = "webrtc"
    state: CallState
    media: Media
    peer: int
    peers: tuple[CallPeer, ...]
    offer_to: tuple[int, ...]
    ice_servers: tuple[IceServer, ...]
    acs: AcsJoin | UnsetType = UNSET


class AnswerCall(Wire, frozen=True, kw_only=True):
    """Take part with this connection. The first of a person's connections that does has the call.

    A participant whose connection was lost comes back with this.
    """

    visit: Id
    call_id: Id


class RefreshCallToken(Wire, frozen=True, kw_only=True):
    """Another token for the call that the caller takes part in, before his own ends."""

    visit: Id
    call_id: Id


class CallToken(Answer, frozen=True, kw_only=True):
    """As in ``CallAnswer``."""

    acs: AcsJoin


class FallBackCall(Wire, frozen=True, kw_only=True):
    """The backend carries nothing to this end: have the call go on without it, for all."""

    visit: Id
    call_id: Id


class DeclineCall(Wire, frozen=True, kw_only=True):
    """Not now; ``busy``: because of another call that this server does not know of."""

    visit: Id
    call_id: Id
    busy: bool = False


class EndCall(Wire, frozen=True, kw_only=True):
    """Leave the call, or end it ``for_all``, as a professional may; without ``call_id``: give up a ``StartCall``."""

    visit: Id
    call_id: Id | UnsetType = UNSET
    for_all: bool = False


class SetCallMedia(Wire, frozen=True, kw_only=True):
    """What a participant says of its own media. It changes nothing by itself: media are renegotiated with offers."""

    visit: Id
    call_id: Id
    muted: bool = False
    held: bool = False
    camera: bool = False
    screen: bool = False


class AskRecording(Wire, frozen=True, kw_only=True):
    """Ask everybody who takes part whether the sound of a relayed call may be recorded; whoever asks agrees.

    Who leads the visit may. Everybody hears of it with ``CallChanged``.
    """

    visit: Id
    call_id: Id


class AnswerRecording(Wire, frozen=True, kw_only=True):
    """Yes or no, at any time: it is recorded while everybody who takes part agrees, and a no ends it."""

    visit: Id
    call_id: Id
    agrees: bool


class SendSignal(Wire, frozen=True, kw_only=True):
    """A description or a candidate for one peer. ``sdp`` with all kinds but ``candidate``.

    ``candidate`` as a browser's ``RTCIceCandidate`` has it, empty when there are no more.
    """

    visit: Id
    call_id: Id
    to: Peer
    kind: SignalKind
    sdp: Annotated[str, Meta(max_length=16_384, pattern=NO_NUL)] | UnsetType = UNSET
    candidate: Annotated[str, Meta(max_length=512, pattern=NO_NUL)] | UnsetType = UNSET
    sdp_mid: Annotated[str, Meta(max_length=32, pattern=r"^[\x21-\x7e]*\Z")] | UnsetType | None = UNSET
    sdp_m_line_index: Annotated[int, Meta(ge=0, le=63)] | UnsetType | None = UNSET


class Signal(Wire, frozen=True, kw_only=True):
    """The same at the other end, in the order in which it was sent."""

    visit: str
    call_id: str
    peer: int
    kind: SignalKind
    sdp: str | UnsetType = UNSET
    candidate: str | UnsetType = UNSET
    sdp_mid: str | UnsetType | None = UNSET
    sdp_m_line_index: int | UnsetType | None = UNSET


class IncomingCall(Wire, frozen=True, kw_only=True):
    """To every connection of somebody who is rung. It rings for ``ring_for_ms`` at most."""

    visit: str
    call_id: str
    caller: str
    media: Media
    ring_for_ms: int


class AnsweredElsewhere(Wire, frozen=True, kw_only=True):
    """To a person's other connections: stop ringing, another one has answered, or declined."""

    visit: str
    call_id: str


class CallChanged(Wire, frozen=True, kw_only=True):
    """To everybody in the call: who takes part now, and how.

    When ``backend`` has become ``relay`` everybody lets go of the others and makes an offer to ``RELAY_PEER``.
    """

    visit: str
    call_id: str
    state: CallState
    peers: tuple[CallPeer, ...]
    backend: CallBackend = "webrtc"
    recording: RecordingState = "off"


class CallBackendChanged(Wire, frozen=True, kw_only=True):
    """To everybody in the visit: what carries its call is another, and why; ``chat``: nothing does, and the visit goes
    on in writing. Who takes part calls ``AnswerCall`` again, whose answer has what the new backend needs.

    ``call_id`` is missing when no call had begun yet.
    """

    visit: str
    backend: CallBackend | Literal["chat"]
    reason: FallBackReason
    call_id: str | UnsetType = UNSET


class CallEnded(Wire, frozen=True, kw_only=True):
    """It is over, for all who rang or took part."""

    visit: str
    call_id: str
    reason: CallEndReason


class ReportQuality(Wire, frozen=True, kw_only=True):
    """How the way from one peer was since the last report, summed up from ``getStats``; every 5 s or so.

    ``loss_permille``: packets that did not come, of a thousand. ``jitter_ms``: RFC 3550, 6.4.1. ``frames_per_s``: of
    video that was decoded, absent without video. ``transport``: what the chosen candidates use.
    """

    visit: Id
    call_id: Id
    to: Peer
    loss_permille: Annotated[int, Meta(ge=0, le=1_000)]
    jitter_ms: Annotated[int, Meta(ge=0, le=60_000)]
    rtt_ms: Annotated[int, Meta(ge=0, le=60_000)] | UnsetType = UNSET
    in_kbps: Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType = UNSET
    out_kbps: Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType = UNSET
    frames_per_s: Annotated[int, Meta(ge=0, le=240)] | UnsetType = UNSET
    relayed: bool = False
    transport: Literal["udp", "tcp"] = "udp"


class QualityChanged(Wire, frozen=True, kw_only=True):
    """To everybody in the call: the way to ``peer`` from ``to`` is another by now, as ``peer`` sees it.

    ``advice``: what would help, the most helpful first.
    """

    visit: str
    call_id: str
    peer: int
    to: int
    grade: Grade
    advice: tuple[Advice, ...]


class StartDeviceCheck(Wire, frozen=True, kw_only=True):
    """Try camera, microphone and network with the server before a visit. ``sdp``: an offer with all its candidates."""

    sdp: Annotated[str, Meta(max_length=16_384, pattern=NO_NUL)]


class DeviceCheckAnswer(Answer, frozen=True, kw_only=True):
    """``sdp`` answers the offer; what is sent comes back. It ends by itself after ``ends_in_ms``."""

    check_id: str
    sdp: str
    ends_in_ms: int


class EndDeviceCheck(Wire, frozen=True, kw_only=True):
    """Seen and heard enough."""

    check_id: Id


class DeviceCheckResult(Answer, frozen=True, kw_only=True):
    """What came, how the way was, and what would help. ``rtt_ms`` is missing when the check was too short for it."""

    grade: Grade
    advice: tuple[Advice, ...]
    audio: bool
    video: bool
    loss_permille: int
    jitter_ms: int
    rtt_ms: int | UnsetType = UNSET
