"""The part of the configuration that is about the bus between pods, and about doing without it."""

import re
from dataclasses import dataclass, field

from .bus.address import BusAddress, bus_address
from .bus.limits import BusLimits, LineLimits
from .config_error import ConfigError
from .pods.directory import DirectoryTimes
from .presence import PresenceTimes

__all__ = ["BusConfig"]

# No braces: in a cluster they would put every channel on one server.
PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,64}(?::[A-Za-z0-9_.-]{1,64}){0,4}")


# No slots: of two parts that have some no class can be made.
@dataclass(frozen=True)
class BusConfig:
    """Fields of ``Config``.

    ``redis_url``: the bus: ``redis(s)://user:password@host:port``, ``redis(s)+cluster://a,b``,
    ``redis(s)+sentinel://a,b/name`` or ``unix:///path``; empty: this process is the only one.
    ``redis_ca_file``: certificates that the servers' own are held to; empty: those of the system.
    ``redis_prefix``: begins the name of every channel, so that deployments may share a server.
    ``max_bus_messages``, ``max_bus_bytes``: what waits to be published on one server; the oldest is dropped for more.
    ``bus_flush_s``: how long the server may take to answer what is published together.
    ``bus_timeout_s``: a connection, a subscription, or an answer that is late already.
    ``bus_ping_s``: silence after which a server is asked whether it is there.
    ``bus_skew_s``: by how much the clocks of pods may differ.
    ``bus_confirm_s``: how long a connection is told nothing because the bus has not confirmed what it is to hear.
    ``look_live_s``, ``look_s``: while the bus is away, how often the log is asked for news of devices that are worked
    on live, and of all others. ``max_looked_devices``: devices of one look.
    ``table_answer_s``: how long a call of the tables in Redis may take that somebody waits for. ``max_table_calls``:
    answers of one server that are waited for at a time.
    ``pod_ask_s``: how long another pod may take to answer. ``max_pod_asks``: answers that are waited for at a time.
    ``signs_every_s``: how often the pod that carries the phone of a live session is asked how it is.
    ``presence_flush_s``: who comes and goes within it is told to other pods together, ``max_presence_changes`` of them
    one by one. ``presence_grace_s``: who is back within it was never gone. ``max_watched_people``: those of whom
    somebody here is told.
    ``join_s``: how long a process that begins waits to know the others, before its port opens.
    ``pod_beat_s``: how often a pod says that it lives. ``pod_gone_s``: a pod that has not said so is gone.
    """

    redis_url: str = field(default="", repr=False)
    redis_ca_file: str = ""
    redis_prefix: str = "auricle"
    max_bus_messages: int = 10_000
    max_bus_bytes: int = 8_388_608
    bus_flush_s: float = 0.025
    bus_timeout_s: float = 2.0
    bus_ping_s: float = 1.0
    bus_skew_s: float = 300.0
    bus_confirm_s: float = 0.25
    look_live_s: float = 0.05
    look_s: float = 2.0
    max_looked_devices: int = 10_000
    table_answer_s: float = 0.025
    max_table_calls: int = 10_000
    join_s: float = 2.0
    pod_beat_s: float = 3.0
    pod_gone_s: float = 9.0
    pod_ask_s: float = 1.0
    max_pod_asks: int = 10_000
    signs_every_s: float = 1.0
    presence_flush_s: float = 0.1
    presence_grace_s: float = 2.0
    max_presence_changes: int = 10_000
    max_watched_people: int = 10_000

    def _check_bus(self) -> None:
        try:
            _ = self.bus_address
        except ValueError as error:
            # The value itself may hold a password.
            raise ConfigError(f"redis_url: {error}") from None
        if not PREFIX.fullmatch(self.redis_prefix):
            raise ConfigError("redis_prefix: must be letters, digits and ._- in up to five parts with : in between")
        if not 2 * self.pod_beat_s < self.pod_gone_s:
            raise ConfigError("pod_gone_s: must be more than twice pod_beat_s, or one lost word ends a pod")

    @property
    def bus_address(self) -> BusAddress | None:
        """Where the bus is; None when there is none. Raises ValueError."""
        return bus_address(self.redis_url) if self.redis_url else None

    @property
    def bus_limits(self) -> BusLimits:
        """The bounds of the bus."""
        return BusLimits(
            max_messages=self.max_bus_messages,
            max_bytes=self.max_bus_bytes,
            flush_s=self.bus_flush_s,
            timeout_s=self.bus_timeout_s,
            ping_s=self.bus_ping_s,
            skew_s=self.bus_skew_s,
            confirm_s=self.bus_confirm_s,
        )

    @property
    def table_limits(self) -> LineLimits:
        """The bounds of the tables in Redis."""
        return LineLimits(answer_s=self.table_answer_s, timeout_s=self.bus_timeout_s, max_waiting=self.max_table_calls)

    @property
    def presence_times(self) -> PresenceTimes:
        """How often who is here is told."""
        return PresenceTimes(
            flush_s=self.presence_flush_s,
            beat_s=self.pod_beat_s,
            gone_s=self.pod_gone_s,
            max_changes=self.max_presence_changes,
        )

    @property
    def directory_times(self) -> DirectoryTimes:
        """How often pods say that they live."""
        return DirectoryTimes(beat_s=self.pod_beat_s, gone_s=self.pod_gone_s)
