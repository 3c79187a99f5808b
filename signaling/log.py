"""The catalogue of log lines: one method per event, JSON on stderr.

No line ever carries a token, a person, a device's content or the text of a payload. A connection is named by its
public id. Errors are named by class and place: their texts may quote what a peer sent.
"""

import hashlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import structlog

__all__ = ["HttpLog", "LogBook", "LoopLog", "say"]


def say(line: str) -> None:
    """A line on stdout. Whoever waited for it may have gone: the clients of a server have not."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError:
        # What could not be written would be tried again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Lines:
    """Where lines go; one that cannot be written, for want of room or of a reader, is lost and ends nothing else."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._is_cut = False
        self.lost = 0

    def msg(self, line: str) -> None:
        """Write one."""
        if self._stream is None:
            return
        # Of one that was lost the beginning may be there.
        begin, self._is_cut = "\n" if self._is_cut else "", True
        try:
            self._stream.write(f"{begin}{line}\n")
            self._stream.flush()
        except OSError:
            self.lost += 1
        else:
            self._is_cut = False

    info = warning = error = msg


class LogBook:
    """Writes the events of one process; ``worker`` is in each line of one of several."""

    def __init__(self, stream: TextIO | None = None, *, worker: int | None = None) -> None:
        self._lines = _Lines(stream or sys.stderr)
        self._log = structlog.wrap_logger(
            self._lines,
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
                structlog.processors.JSONRenderer(sort_keys=True),
            ],
        ).bind(**({} if worker is None else {"worker": worker}))

    def lost(self) -> int:
        """How many lines could not be written."""
        return self._lines.lost

    def started(self, *, url: str, dev: bool) -> None:
        """The server accepts connections."""
        self._log.info("started", url=url, dev=dev)

    def conformance_on(self) -> None:
        """A hub for tests is reachable."""
        self._log.warning("conformance_hub_enabled", advice="never in production")

    def draining(self, *, connections: int) -> None:
        """SIGTERM came."""
        self._log.info("draining", connections=connections)

    def stopped(self) -> None:
        """The process ends in order."""
        self._log.info("stopped")

    def child_ended(self, *, child: str, code: int, again_in_s: float) -> None:
        """A worker, or the embedded Valkey, has ended unasked; a negative code is the number of a signal."""
        self._log.error("child_ended", child=child, code=code, again_in_s=round(again_in_s, 3))

    def child_back(self, *, child: str) -> None:
        """It was started again and does its work."""
        self._log.info("child_back", child=child)

    def child_killed(self, *, child: str, state: str) -> None:
        """It took too long to start or to end, or did not listen any more."""
        self._log.error("child_killed", child=child, state=state)

    def child_not_started(self, *, child: str, error: OSError) -> None:
        """The machine could not start its process."""
        self._log.error("child_not_started", child=child, reason=error.strerror)

    def gave_up(self, *, child: str, ends: int) -> None:
        """It ended too often within a while: so does the server."""
        self._log.error("gave_up", child=child, ends=ends)

    def connection_opened(self, *, connection: str, hub: str, protocol: str) -> None:
        """A handshake succeeded."""
        self._log.info("connection_opened", connection=connection, hub=hub, protocol=protocol)

    def connection_closed(self, *, connection: str, hub: str, cause: str, duration_s: float) -> None:
        """A connection is gone; ``cause`` is one of a few words."""
        self._log.info(
            "connection_closed", connection=connection, hub=hub, cause=cause, duration_s=round(duration_s, 3)
        )

    def protocol_broken(self, *, connection: str, hub: str) -> None:
        """A peer broke the protocol and was closed."""
        self._log.warning("protocol_broken", connection=connection, hub=hub)

    def call_crashed(self, *, connection: str, hub: str, method: str, error: BaseException) -> None:
        """A hub method raised what it should not have."""
        self._log.error("call_crashed", connection=connection, hub=hub, method=method, **_where(error))

    def request_crashed(self, *, route: str, error: BaseException) -> None:
        """An HTTP handler raised what it should not have."""
        self._log.error("request_crashed", route=route, **_where(error))

    def http_failed(self, *, error: str) -> None:
        """A request that was no request, or that broke the HTTP server's own rules."""
        self._log.warning("http_failed", error=error)

    def loop_complained(self, *, by: str, error: BaseException | None) -> None:
        """The event loop has met what nobody caught, or did not expect; ``by`` is where in it."""
        self._log.error("loop_complained", by=by, **({} if error is None else _where(error)))

    def task_failed(self, *, owner: str, error: BaseException) -> None:
        """A background task ended with an error."""
        self._log.error("task_failed", owner=owner, **_where(error))

    def alarm_raised(self, *, alarm: str) -> None:
        """A device has an alarm, or its phone found an offer forged (E_SIG) or out of range (E_RANGE).

        Which one it is stands in its history: this line names no device.
        """
        self._log.error("alarm_raised", alarm=alarm)

    def history_lost(self, *, resume: str) -> None:
        """A phone knows of deliveries that the log does not."""
        self._log.error("device_log_history_lost", resume=resume)

    def device_failed(self, *, device: str, error: BaseException) -> None:
        """What time brings about could not be done for one device; told once per device and class of error.

        A line names no device: who has the database finds it by the hash of its name.
        """
        name_hash = hashlib.sha256(device.encode()).hexdigest()[:12]
        self._log.error("device_failed", name_hash=name_hash, **_where(error))

    def database_away(self) -> None:
        """Nothing can be read or written; what does not need it goes on."""
        self._log.error("database_away")

    def database_back(self) -> None:
        """It can be used again."""
        self._log.info("database_back")

    def backplane_away(self, *, server: str, cause: str) -> None:
        """Pods do not hear each other: what is due is looked for in the log. ``cause``: a word, or a refusal's code."""
        self._log.error("backplane_away", server=server, cause=cause)

    def backplane_connected(self, *, server: str) -> None:
        """They do, from here on."""
        self._log.info("backplane_connected", server=server)

    def clocks_differ(self) -> None:
        """Another pod's clock is off by more than it may be, or this one's: they do not hear each other."""
        self._log.error("clocks_differ", advice="have the clocks of all pods set by NTP")

    def tables_away(self, *, server: str, cause: str) -> None:
        """Pods do not know what Redis knows of others; ``cause`` as above: NOPERM is a user who may do too little."""
        self._log.error("tables_away", server=server, cause=cause)

    def tables_connected(self, *, server: str) -> None:
        """They do again."""
        self._log.info("tables_connected", server=server)

    def internal_listener_off(self) -> None:
        """There are other pods, and this one is nowhere reached: its connections' requests must come to it alone."""
        self._log.warning("internal_listener_off", advice="set AURICLE_INTERNAL_LISTEN, or keep clients on their pod")

    def internal_certificate_renewed(self) -> None:
        """What pods show each other, and are held to, has been read again."""
        self._log.info("internal_certificate_renewed")

    def internal_certificate_unusable(self, *, cause: str) -> None:
        """The files have changed and cannot be used: what was read before goes on, until it expires."""
        self._log.error("internal_certificate_unusable", cause=cause)

    def internal_certificate_doubtful(self, *, cause: str) -> None:
        """A pod that shows the same as this one would not believe it, nor be believed."""
        self._log.error("internal_certificate_doubtful", cause=cause)

    def push_logged(self, *, platform: str, kind: str) -> None:
        """A push was due and no push service is configured."""
        self._log.info("push_logged", platform=platform, kind=kind)

    def push_refused(self, *, code: str) -> None:
        """The push service refuses what we send: a mistake in the configuration, or of ours. Told once in a row."""
        self._log.error("push_refused", code=code)

    def push_service_away(self, *, cause: str) -> None:
        """The push service fails, or asks to be left alone: pushes wait. ``cause``: a status or a class of error."""
        self._log.warning("push_service_away", cause=cause)

    def push_service_back(self) -> None:
        """It takes pushes again."""
        self._log.info("push_service_back")

    def acs_trouble(self, *, reason: str) -> None:
        """Azure Communication Services do not do what they are asked for; told once in a row. Visits go on."""
        self._log.error("acs_trouble", reason=reason)

    def acs_well(self) -> None:
        """They do again."""
        self._log.info("acs_well")

    def acs_event_refused(self, *, reason: str) -> None:
        """Entra has signed a delivery of events for whom, or of what, is not configured; told once in a row."""
        self._log.error("acs_event_refused", reason=reason)

    def acs_event_keys_away(self, *, cause: str) -> None:
        """The keys of the tenant were not had: known ones are good for a while, new ones for nothing. Told once."""
        self._log.warning("acs_event_keys_away", cause=cause)

    def acs_event_keys_back(self) -> None:
        """They were had again."""
        self._log.info("acs_event_keys_back")


class HttpLog(logging.Handler):
    """Takes what the HTTP library logs and keeps the class of the error only: its texts quote requests, tokens too."""

    def __init__(self, log: LogBook) -> None:
        super().__init__(logging.ERROR)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line for one refused or failed request."""
        error = record.exc_info[1] if record.exc_info else None
        self._log.http_failed(error=type(error).__name__ if error is not None else "unknown")

    def as_logger(self) -> logging.Logger:
        """A logger that writes here and nowhere else."""
        logger = logging.Logger("auricle.http", logging.ERROR)
        logger.addHandler(self)
        return logger


class LoopLog(logging.Handler):
    """Takes what the event loop logs, and keeps its place and the class of the error only, for the same reason."""

    def __init__(self, log: LogBook) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line for what nobody else has caught, or expects."""
        error = record.exc_info[1] if record.exc_info else None
        self._log.loop_complained(by=f"{record.funcName}:{record.lineno}", error=error)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Nobody else hears of it meanwhile."""
        logger = logging.getLogger("asyncio")
        before, logger.propagate = logger.propagate, False
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.propagate = before


def _where(error: BaseException) -> dict[str, str]:
    """The class of an error and the frames that it came through, without any values."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    place = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return {"error": type(error).__name__, "place": place}
