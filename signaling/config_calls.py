"""The part of the configuration that is about calls, and the servers that help two ends to reach each other."""

from base64 import b64decode
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from media.call import CallTimes
from media.candidate import HostPolicy
from media.ice import IceMistake, IcePlan, no_servers, read_plan

from .config_error import ConfigError

__all__ = ["CallConfig"]

# As ``media.recording`` has it, which loads a library that most commands do not need.
KEY_BYTES = 32


# No slots: of two parts that have some no class can be made.
@dataclass(frozen=True)
class CallConfig:
    """Fields of ``Config``.

    ``ice_servers``: JSON file with the STUN and TURN servers by region; empty: none, two ends must reach each other by
    themselves. ``turn_secret``: what the TURN servers share with this one. ``turn_ttl_s``: how long a credential is
    good at most, and half of it at least.
    ``ice_host_candidates``: which addresses one end may be sent to by another: ``public``, ``private`` too, or ``any``.
    ``ring_s``: how long somebody is rung. ``call_return_s``: how long whoever was lost in a call may take to come back.
    ``max_calls``: calls that this process remembers. ``max_call_peers``: people in one call.
    ``max_candidates``: of one description. ``max_signals``: signals of one connection at once, and in the long run one
    every ``signal_every_s``.
    ``device_check``: let people try camera and microphone with the server's own peer, which costs a tenth of a core
    each or more; always with ``dev``. ``max_device_checks``: at a time. ``device_check_s``: how long one may last.
    ``max_quality_reports``: reports of one end about one other that are kept while a call lasts; one is taken
    ``quality_every_s``. ``max_ringing_phones``: sleeping phones that are waited for while they are called.
    ``max_call_records``: calls that are over that the memory store holds. ``max_call_records_waiting``: those that wait
    for the database to be kept.
    ``media_relay``: pass media of calls on when people want that, which costs a fifth of a core a call or more, and
    decrypts them here. ``max_relayed_calls``: at a time. ``max_relay_bps``: bits a second of one person.
    ``max_relay_lag_s``: sound that waits to be passed on. ``relay_answer_s``: how long answering an offer may take.
    ``relay_ports``: UDP ports for it, like ``40000-40099``; empty: any. ``relay_address``: the IP address at which
    clients reach those, when it is not one of this machine.
    ``recordings``: folder for recordings of relayed calls; empty: nothing is recorded. ``recording_key``: 32 bytes in
    base64 that their keys are wrapped with; with commas also those of before. ``max_recording_s``,
    ``max_recording_bytes``: of one. ``max_recording_blocks``: of 20 ms that wait for the disk. ``recording_keep_s``:
    how long one is kept.
    ``turn_probe_s``: how often each TURN server is asked for an allocation. ``turn_answer_s``: how long it may take.
    """

    ice_servers: str = ""
    turn_secret: str = field(default="", repr=False)
    turn_ttl_s: int = 7_200
    ice_host_candidates: str = "public"
    ring_s: float = 45.0
    call_return_s: float = 20.0
    max_calls: int = 5_000
    max_call_peers: int = 4
    max_candidates: int = 64
    max_signals: int = 100
    signal_every_s: float = 0.05
    device_check: bool = False
    max_device_checks: int = 4
    device_check_s: float = 60.0
    max_quality_reports: int = 120
    quality_every_s: float = 1.0
    max_ringing_phones: int = 1_000
    max_call_records: int = 10_000
    max_call_records_waiting: int = 1_000
    media_relay: bool = False
    max_relayed_calls: int = 4
    max_relay_bps: int = 2_000_000
    max_relay_lag_s: float = 0.1
    relay_answer_s: float = 5.0
    relay_ports: str = ""
    relay_address: str = ""
    recordings: str = ""
    recording_key: str = field(default="", repr=False)
    max_recording_s: float = 7_200.0
    max_recording_bytes: int = 268_435_456
    max_recording_blocks: int = 500
    recording_keep_s: int = 2_592_000
    turn_probe_s: float = 60.0
    turn_answer_s: float = 5.0

    def _check_calls(self) -> None:
        if self.ice_host_candidates not in tuple(HostPolicy):
            raise ConfigError(f"ice_host_candidates: must be one of {', '.join(HostPolicy)}")
        if self.max_call_peers < 2:
            raise ConfigError("max_call_peers: a call has two ends at least")
        _ = self.relay_port_range
        try:
            _ = ip_address(self.relay_address or "127.0.0.1")
        except ValueError:
            raise ConfigError("relay_address: must be an IP address") from None
        if self.recordings and not (self.media_relay and self.recording_keys):
            raise ConfigError("recordings: need media_relay, and a recording_key")

    @property
    def recording_keys(self) -> tuple[bytes, ...]:
        """The keys of recordings, the one to use first. Raises ConfigError."""
        try:
            keys = [b64decode(part.strip(), validate=True) for part in self.recording_key.split(",") if part.strip()]
        except ValueError:
            keys = [b""]
        if any(len(key) != KEY_BYTES for key in keys):
            raise ConfigError(f"recording_key: must be {KEY_BYTES} bytes in base64")
        return tuple(keys)

    @property
    def relay_port_range(self) -> range:
        """The UDP ports of the media relay; empty: any. Raises ConfigError."""
        if not self.relay_ports:
            return range(0)
        low, _, high = self.relay_ports.partition("-")
        if not (low.isascii() and low.isdigit() and high.isascii() and high.isdigit()):
            raise ConfigError("relay_ports: must be like 40000-40099")
        if not 0 < int(low) <= int(high) <= 65_535:
            raise ConfigError("relay_ports: must be like 40000-40099")
        return range(int(low), int(high) + 1)

    @property
    def call_times(self) -> CallTimes:
        """How long people are rung, and waited for."""
        return CallTimes(ring_s=self.ring_s, grace_s=self.call_return_s)

    @property
    def ice_plan(self) -> IcePlan:
        """The STUN and TURN servers. Raises ConfigError."""
        if not self.ice_servers:
            return no_servers(ttl_s=self.turn_ttl_s)
        try:
            document = Path(self.ice_servers).read_bytes()
        except OSError as error:
            raise ConfigError(f"ice_servers: cannot be read: {error.strerror}") from None
        try:
            return read_plan(document, secret=self.turn_secret.encode(), ttl_s=self.turn_ttl_s)
        except IceMistake as error:
            raise ConfigError(f"ice_servers: {error}") from None
