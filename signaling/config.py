"""The configuration, read once at start and passed down in parts; nobody else reads the environment.

Each field is set by ``AURICLE_<FIELD>`` in upper case, or by the command line, which wins.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from fitting.log_sql.limits import PostgresLimits, SqliteLimits, StoreLimits
from fitting.log_values import LogLimits
from fitting.mode import ModeLimits, SessionTimes
from protocol.signalr.connection import HubLimits
from protocol.signalr.prescan import ScanLimits

from .config_acs import AcsConfig
from .config_bus import BusConfig
from .config_calls import CallConfig
from .config_environ import variable_of
from .config_error import ConfigError
from .config_pods import PodsConfig
from .config_push import PushConfig
from .config_socketio import SocketIoConfig
from .config_visits import VisitConfig
from .config_workers import WorkersConfig

__all__ = ["MEMORY", "Config", "ConfigError", "config_from"]

MIN_SIGNING_KEY_BYTES = 32
# What a browser could name, in lower case: scheme, host, port and no path; neither ``null`` nor ``*``.
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[^\s/?#\\@:*\[\],]+)(?::[0-9]{1,5})?")
TRANSPORTS = ("WebSockets", "ServerSentEvents", "LongPolling")
MEMORY = "memory:"


@dataclass(frozen=True, slots=True)
class Config(AcsConfig, BusConfig, CallConfig, PodsConfig, PushConfig, SocketIoConfig, VisitConfig, WorkersConfig):
    """Everything that an operator may set, with what the parts above add. Sizes in bytes, times in seconds.

    ``dev``: mint and accept development tokens, and raise the admission bounds.
    ``stateful_reconnect``: connections may survive the loss of their socket, when the client asks for it.
    ``token_refresh``: a client may show a new token at ``POST {hub}/refresh``, and is told when it should.
    ``transports``: comma-separated transports that a hub offers, in the order in which clients should try them.
    ``conformance``: serve the conformance hub; never in production.
    ``dev_signing_key``: HS256 key of the development tokens; empty means none is configured.
    ``allowed_origins``: comma-separated origins of web pages that may use this server, beside its own.
    ``clinic_limits``: JSON file with the safety limits of clinics that are stricter than the kernel's own; empty: none.
    ``max_connections``: connections of one process; one more is answered 503.
    ``max_user_connections``: connections of one user to one hub of one process; one more is answered 429.
    ``listen_backlog``: connections that wait to be accepted, of clients and of pods; one more is not answered, and
    whoever it was asks again.
    ``max_accepts``: connections that are taken of them, and looked after when they end, in 5 ms; fewer when it is late.
    ``max_frame_bytes``: one WebSocket frame or POST, of which 64 KiB at a time are held; a client joins many hub
    messages into one.
    ``max_message_depth``, ``max_message_keys``, ``max_number_chars``: of one hub message, the arrays and objects inside
    each other, the keys of all its objects, and the characters of a number in JSON.
    ``max_resume_bytes``: messages that a client with stateful reconnect has not acknowledged; the next ones wait.
    ``max_send_queue_bytes``: bytes that wait for a slow reader; one message more ends its connection.
    ``max_waiting_bytes``: what of one client was read and waits behind a full queue; beyond it nothing is read.
    ``max_pending_calls``: calls of one connection that wait for their turn; what comes then waits.
    ``max_pending_results``: client results that one connection owes at a time.
    ``max_streams``: streams of one connection that run at a time, calls with uploads included.
    ``upload_buffer_items``: items of one upload that wait for their method; what comes then waits.
    ``max_groups``: groups of one connection.
    ``max_early_bytes``: what a client may post before its first poll or event stream has come.
    ``max_early_connections``: connections that have posted before it.
    ``max_spent_tokens``: connections of a hub that were opened, remembered until their tokens end.
    ``max_attachments``: phones that are being attached at a time; one more is told when to come back.
    ``max_unanswered_attachments``: attachments of a phone in a row that are lost over the same offer; then it is asked
    not to begin it.
    ``max_devices``: devices, devices with assignments, and bind codes that the memory stores hold.
    ``max_patients``: patients, and patients with consents, that the memory stores hold.
    ``max_decisions``: decisions about who may fit one device, or what one patient consents to; a no is always taken.
    ``max_bind_codes``: codes of one device that a phone could be bound with at a time.
    ``bind_code_ttl_s``, ``bind_code_mail_ttl_s``: how long one can be used that is shown in the clinic, or mailed.
    ``bind_window_s``: in which time one caller may try ``max_bind_attempts`` codes, and all of a clinic together
    ``max_clinic_bind_attempts``. ``max_bind_callers``: callers, and clinics, whose attempts are remembered.
    ``max_audiograms``: audiograms of one device that may be put on file.
    ``max_rest_answers``: answers of one caller over REST that are kept for his idempotency keys.
    ``client_result_timeout_s``: how long a hub method waits for a client's answer.
    ``poll_timeout_s``: how long a long poll waits for something to send.
    ``disconnect_timeout_s``: how long a connection may be without transport: between polls, or after a lost socket.
    ``expiry_notice_s``: how long before the end of its token a client is told.
    ``call_grace_s``: how long calls go on after their connection has gone.
    ``close_timeout_s``: how long a closing connection waits for its client to take the last words.
    ``connection_token_ttl_s``: how long a negotiated connection may stay unopened, by the clock of any pod.
    ``request_timeout_s``: how long the head of an HTTP request may take. ``body_timeout_s``: and its body.
    ``idle_timeout_s``: how long an HTTP connection is kept between two requests.
    ``offer_timeout_s``: an offer that the phone does not acknowledge is sent again after it.
    ``watch_every_s``: how often the log of a device that is watched is asked for more.
    ``alive_every_s``: how often the phone of a live session is told that it is live.
    ``question_after_s``: how long an installed package is worn before its wearer is asked whether to keep it.
    ``make_way_s``: how long a phone may take to give packages back that wait for its wearer, before live work begins.
    ``freeze_after_s``: silence of either end, the app in the background or an aid out of reach, after which nothing may
    rise.
    ``background_ends_after_s``: the app in the background that long ends live work.
    ``aids_away_ends_after_s``: an aid out of its phone's reach that long ends live work.
    ``dead_man_s``: what phones use: after that long without a live session they restore by themselves.
    ``max_grants``: who was found to be allowed to do what with a device, for the time that the store is away.
    ``grant_patience_s``: how long the store of devices may take to answer before what is remembered counts.
    ``session_s``: live work that lasts longer is ended.
    ``battery_to_begin_percent``, ``battery_to_go_on_percent``: charge of the aids below which live work does not begin,
    and ends.
    ``rtt_to_begin_ms``, ``rtt_to_go_on_ms``: round trip of the phone above which it does not begin, and freezes.
    ``rtt_ends_after_s``: a link that slow for that long ends live work. ``call_ends_after_s``: so does a call beside it
    that its fitter has told of and then tells of no more.
    ``max_late_records``: stops and undos that were carried out while the log was away and must still be recorded.
    ``max_untold_devices``: devices of which those who watch are told as soon as the log is there again.
    ``database_url``: where devices and their logs are kept: empty for ``auricle.db`` in the data folder,
    ``postgresql://...``, or ``memory:``, which a restart forgets.
    ``max_cached_devices``: devices whose logs are kept in memory between calls.
    ``max_unwritten_steps``: steps of one device that were told and are not written down yet.
    ``max_due_devices``: devices of one look for changes that have expired.
    ``max_due_pushes``: pushes and questions that are carried out in one look.
    ``max_waiting_writes``: changes that wait to be written into SQLite.
    ``max_database_connections``: connections to PostgreSQL. ``database_timeout_s``: wait for the database.
    ``ballast_bytes``: room set aside beside the SQLite file for what must be written when the disk is full; 0: none.
    ``log_flush_s``: how long what was told of a device may stay unwritten.
    ``log_stale_s``: how old an answer may be when another process writes to the same device.
    ``sweep_s``: how often timers are looked at. ``drain_s``: how long a shutdown may take to tell everybody.
    ``test_kill``: where a fault test has this process killed (``kill_points``); only with ``dev``.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    data: Path = field(default_factory=lambda: Path.home() / ".auricle")
    dev: bool = False
    stateful_reconnect: bool = True
    token_refresh: bool = True
    transports: str = ",".join(TRANSPORTS)
    conformance: bool = False
    dev_signing_key: str = field(default="", repr=False)
    allowed_origins: str = ""
    clinic_limits: str = ""
    max_connections: int = 20_000
    max_user_connections: int = 200
    listen_backlog: int = 4_096
    max_accepts: int = 5
    max_frame_bytes: int = 30_000_000
    max_message_bytes: int = 32_768
    max_message_depth: int = 32
    max_message_keys: int = 1_000
    max_number_chars: int = 64
    max_resume_bytes: int = 100_000
    max_waiting_bytes: int = 1_048_576
    max_send_queue_bytes: int = 1_048_576
    max_pending_calls: int = 32
    max_pending_results: int = 32
    max_streams: int = 64
    upload_buffer_items: int = 10
    max_groups: int = 64
    max_attachments: int = 128
    max_unanswered_attachments: int = 3
    max_early_bytes: int = 65_536
    max_early_connections: int = 256
    max_spent_tokens: int = 100_000
    max_devices: int = 10_000
    max_patients: int = 10_000
    max_decisions: int = 1_000
    max_bind_codes: int = 3
    bind_code_ttl_s: float = 900.0
    bind_code_mail_ttl_s: float = 259_200.0
    bind_window_s: float = 900.0
    max_bind_attempts: int = 5
    max_clinic_bind_attempts: int = 100
    max_bind_callers: int = 10_000
    max_audiograms: int = 1_000
    max_rest_answers: int = 1_000
    max_body_bytes: int = 65_536
    handshake_timeout_s: float = 15.0
    keep_alive_s: float = 15.0
    client_timeout_s: float = 30.0
    client_result_timeout_s: float = 30.0
    poll_timeout_s: float = 90.0
    disconnect_timeout_s: float = 15.0
    expiry_notice_s: float = 60.0
    call_grace_s: float = 5.0
    close_timeout_s: float = 5.0
    connection_token_ttl_s: float = 15.0
    request_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    idle_timeout_s: float = 130.0
    lease_ttl_s: float = 15.0
    offer_timeout_s: float = 2.0
    watch_every_s: float = 0.5
    alive_every_s: float = 5.0
    question_after_s: float = 259_200.0
    make_way_s: float = 5.0
    freeze_after_s: float = 10.0
    background_ends_after_s: float = 30.0
    aids_away_ends_after_s: float = 120.0
    dead_man_s: float = 30.0
    session_s: float = 3_600.0
    battery_to_begin_percent: int = 30
    battery_to_go_on_percent: int = 20
    rtt_to_begin_ms: int = 800
    rtt_to_go_on_ms: int = 1_500
    rtt_ends_after_s: float = 10.0
    call_ends_after_s: float = 30.0
    max_late_records: int = 256
    max_untold_devices: int = 10_000
    max_grants: int = 65_536
    grant_patience_s: float = 1.0
    database_url: str = field(default="", repr=False)
    max_cached_devices: int = 10_000
    max_unwritten_steps: int = 256
    max_due_devices: int = 256
    max_due_pushes: int = 64
    max_waiting_writes: int = 4_096
    max_database_connections: int = 10
    database_timeout_s: float = 5.0
    ballast_bytes: int = 1_048_576
    log_flush_s: float = 0.5
    log_stale_s: float = 0.25
    sweep_s: float = 0.5
    drain_s: float = 10.0
    test_kill: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the field.

        Raises:
            ConfigError: a bound that is not positive, a port out of range, a signing key that is too short, an origin,
                a transport or a notification hub that is none.
        """
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port: must be 0 to 65535, not {self.port}")
        if 0 < len(self.dev_signing_key.encode()) < MIN_SIGNING_KEY_BYTES:
            raise ConfigError(f"dev_signing_key: must have at least {MIN_SIGNING_KEY_BYTES} bytes")
        for origin in self.origins:
            if not ORIGIN.fullmatch(origin):
                raise ConfigError(f"allowed_origins: must be like https://name:port, without a path, not {origin}")
        if not self.offered_transports or not set(self.offered_transports) <= set(TRANSPORTS):
            raise ConfigError(f"transports: must be some of {', '.join(TRANSPORTS)}")
        for entry in fields(self):
            value = getattr(self, entry.name)
            bound = entry.name.startswith("max_") or entry.name.endswith(("_s", "_items"))
            if bound and not 0 < value < math.inf:
                raise ConfigError(f"{entry.name}: must be a number greater than 0, not {value}")
        self._check_workers()
        self._check_live_work()
        self._check_database()
        self._check_push()
        self._check_acs(dev=self.dev)
        self._check_bus()
        self._check_calls()
        self._check_pods(self.token_believed_s)

    @property
    def token_open_s(self) -> float:
        """How long a negotiated connection may stay unopened by the clock of the pod that negotiated it."""
        # A pod that opens it may have a clock that is so much ahead.
        return self.connection_token_ttl_s + (self.bus_skew_s if self.redis_url else 0.0)

    @property
    def token_believed_s(self) -> float:
        """How long somebody may believe that a token opens something: a pod whose clock is behind."""
        return self.token_open_s + self.bus_skew_s

    def _check_live_work(self) -> None:
        if self.battery_to_go_on_percent > self.battery_to_begin_percent:
            raise ConfigError("battery_to_begin_percent: must not be less than battery_to_go_on_percent")
        if not self.lease_ttl_s + 5 < self.dead_man_s or not self.freeze_after_s < self.dead_man_s:
            raise ConfigError("dead_man_s: must be more than freeze_after_s, and than lease_ttl_s and 5 seconds")

    def _check_database(self) -> None:
        if self.ballast_bytes < 0:
            raise ConfigError(f"ballast_bytes: must be 0 or more, not {self.ballast_bytes}")
        is_postgres = self.database_url.startswith(("postgresql://", "postgres://"))
        if not is_postgres and self.database_url not in ("", MEMORY):
            # The value itself may hold a password.
            raise ConfigError(f"database_url: must be empty, {MEMORY} or postgresql://...")

    @property
    def hub_limits(self) -> HubLimits:
        """The limits of one hub connection."""
        return HubLimits(
            max_message_bytes=self.max_message_bytes,
            handshake_timeout_s=self.handshake_timeout_s,
            keep_alive_s=self.keep_alive_s,
            client_timeout_s=self.client_timeout_s,
            disconnect_timeout_s=self.disconnect_timeout_s,
            resume_buffer_bytes=self.max_resume_bytes,
            scan=ScanLimits(self.max_message_depth, self.max_message_keys, self.max_number_chars),
        )

    @property
    def log_limits(self) -> LogLimits:
        """The limits of the device log."""
        return LogLimits(
            lease_ttl_s=self.lease_ttl_s,
            max_unanswered=self.max_unanswered_attachments,
            question_after_s=self.question_after_s,
        )

    @property
    def mode_limits(self) -> ModeLimits:
        """When live work freezes and ends."""
        return ModeLimits(
            freeze_after_s=self.freeze_after_s,
            background_ends_after_s=self.background_ends_after_s,
            aids_away_ends_after_s=self.aids_away_ends_after_s,
            dead_man_s=self.dead_man_s,
            session_s=self.session_s,
            battery_to_begin_percent=self.battery_to_begin_percent,
            battery_to_go_on_percent=self.battery_to_go_on_percent,
            rtt_to_begin_ms=self.rtt_to_begin_ms,
            rtt_to_go_on_ms=self.rtt_to_go_on_ms,
            rtt_ends_after_s=self.rtt_ends_after_s,
            call_ends_after_s=self.call_ends_after_s,
        )

    @property
    def session_times(self) -> SessionTimes:
        """How often a live session is kept alive, and how long a patient may think."""
        return SessionTimes(
            alive_every_s=self.alive_every_s,
            consent_s=self.client_result_timeout_s,
            make_way_s=self.make_way_s,
            max_late=self.max_late_records,
            signs_every_s=self.signs_every_s,
            lease_ttl_s=self.lease_ttl_s,
        )

    @property
    def store_limits(self) -> StoreLimits:
        """The bounds of the stores in SQL."""
        return StoreLimits(
            max_cached_devices=self.max_cached_devices,
            max_unwritten_steps=self.max_unwritten_steps,
            flush_s=self.log_flush_s,
            stale_s=self.log_stale_s,
            max_due_devices=self.max_due_devices,
        )

    @property
    def sqlite_limits(self) -> SqliteLimits:
        """The bounds of the SQLite file."""
        return SqliteLimits(
            max_waiting_writes=self.max_waiting_writes,
            timeout_s=self.database_timeout_s,
            ballast_bytes=self.ballast_bytes,
        )

    @property
    def postgres_limits(self) -> PostgresLimits:
        """The bounds of the connections to PostgreSQL."""
        return PostgresLimits(max_connections=self.max_database_connections, timeout_s=self.database_timeout_s)

    @property
    def sqlite_file(self) -> Path:
        """Where the SQLite database is."""
        return self.data / "auricle.db"

    @property
    def origins(self) -> frozenset[str]:
        """The allowed origins, in lower case."""
        return frozenset(_parts(self.allowed_origins.lower()))

    @property
    def offered_transports(self) -> tuple[str, ...]:
        """The names of the transports, in their order."""
        return tuple(_parts(self.transports))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def config_from(environ: Mapping[str, str] = os.environ, **command_line: Any) -> Config:
    """The configuration of this process; ``command_line`` values that are None are left out.

    Raises:
        ConfigError: a value that does not fit its field, named by its variable.
    """
    config = Config()
    changes: dict[str, Any] = {}
    for entry in fields(Config):
        variable = variable_of(entry.name)
        if variable not in environ:
            continue
        kind = type(getattr(config, entry.name))
        if issubclass(kind, Path):
            changes[entry.name] = Path(environ[variable])
            continue
        try:
            changes[entry.name] = msgspec.convert(environ[variable], kind, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{variable}: {error}") from None
    changes |= {name: value for name, value in command_line.items() if value is not None}
    return replace(config, **changes)
