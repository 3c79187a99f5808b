"""The part of the configuration that is about calls, and the servers that help two ends to reach each other."""

from dataclasses import dataclass, field
from pathlib import Path

from media.call import CallTimes
from media.candidate import HostPolicy
from media.ice import IceMistake, IcePlan, no_servers, read_plan

from .config_error import ConfigError

__all__ = ["CallConfig"]


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
    turn_probe_s: float = 60.0
    turn_answer_s: float = 5.0

    def _check_calls(self) -> None:
        if self.ice_host_candidates not in tuple(HostPolicy):
            raise ConfigError(f"ice_host_candidates: must be one of {', '.join(HostPolicy)}")
        if self.max_call_peers < 2:
            raise ConfigError("max_call_peers: a call has two ends at least")

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
