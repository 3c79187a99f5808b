"""Every counter of the server, in one registry per process. No label ever names a user, a device or a connection."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from protocol.errors import (
    AttachmentsTooLarge,
    MessageTooDeep,
    MessageTooLarge,
    NumberTooLong,
    TooManyAttachments,
    TooManyKeys,
    TooManyPackets,
)

__all__ = ["Metrics", "StorageMetrics", "Tallies", "Tally"]

SILENCES = {"handshake": "handshake_timeout_s", "client": "client_timeout_s", "resume": "disconnect_timeout_s"}
EXCESSES = {
    MessageTooLarge.code: "max_message_bytes",
    TooManyAttachments.code: "max_packet_attachments",
    AttachmentsTooLarge.code: "max_attachment_bytes",
    TooManyPackets.code: "max_poll_packets",
    MessageTooDeep.code: "max_message_depth",
    TooManyKeys.code: "max_message_keys",
    NumberTooLong.code: "max_number_chars",
}
COMMIT_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONNECTION_BUCKETS_S = (0.01, 0.1, 1, 5, 15, 60, 300, 900, 3_600, 14_400)


class Tally:
    """A counter for the hot path: an addition, no lock. One thread counts, the page reads."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Tallies(Collector):
    """A counter with labels, for the hot path; the values of the labels are words of which there are few."""

    def __init__(self, registry: CollectorRegistry, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self._tallies: dict[tuple[str, ...], Tally] = {}
        registry.register(self)

    def of(self, *labels: str) -> Tally:
        """The tally of these labels; ask once and count often, where that is possible."""
        tally = self._tallies.get(labels)
        if tally is None:
            tally = self._tallies[labels] = Tally()
        return tally

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What Prometheus is shown."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, tally in self._tallies.items():
            family.add_metric(labels, tally.value)
        yield family


class StorageMetrics:
    """``fitting.log_sql.port.Watch``: what becomes of the writes of this process."""

    def __init__(self, registry: CollectorRegistry, bounds: Counter) -> None:
        self._bounds = bounds
        self._commits = Histogram(
            "auricle_database_commit_seconds", "How long commits took.", buckets=COMMIT_BUCKETS_S, registry=registry
        )
        self._batches = Histogram(
            "auricle_database_commit_writes", "Writes of one commit.", buckets=BATCH_BUCKETS, registry=registry
        )
        cached = Tallies(
            registry, "auricle_log_cache", "Device logs that were at hand, or had to be read.", ["outcome"]
        )
        self._hits, self._misses = cached.of("hit"), cached.of("miss")
        self._conflicts = Counter(
            "auricle_log_conflicts_total", "Steps run again because another process had written.", registry=registry
        )
        self._waiting = Gauge("auricle_database_waiting_writes", "Writes that wait for their turn.", registry=registry)
        self._failures = Counter(
            "auricle_database_failures_total",
            "The database was away or refused, by a word or SQLSTATE.",
            ["reason"],
            registry=registry,
        )

    def reached(self, bound: str) -> None:
        """See ``Watch``."""
        self._bounds.labels(bound).inc()

    def cached(self, hit: bool) -> None:
        """See ``Watch``."""
        (self._hits if hit else self._misses).value += 1

    def conflicted(self) -> None:
        """See ``Watch``."""
        self._conflicts.inc()

    def committed(self, writes: int, duration_s: float) -> None:
        """See ``Watch``."""
        self._commits.observe(duration_s)
        self._batches.observe(writes)

    def waiting(self, writes: int) -> None:
        """See ``Watch``."""
        self._waiting.set(writes)

    def failed(self, reason: str) -> None:
        """See ``Watch``."""
        self._failures.labels(reason).inc()


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # nothing runs
        return 0


class Metrics:
    """The names follow OpenTelemetry's SignalR conventions where these exist."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._counters, self._gauges = dict[str, Counter](), dict[str, Gauge]()
        self.connections = Gauge(
            "signalr_server_active_connections", "Open hub connections.", ["signalr_transport"], registry=registry
        )
        self.durations = Histogram(
            "signalr_server_connection_duration_seconds",
            "How long connections lived.",
            ["signalr_connection_status", "signalr_transport"],
            buckets=CONNECTION_BUCKETS_S,
            registry=registry,
        )
        # How the calls of hub methods ended.
        self.calls = Tallies(registry, "auricle_hub_invocations", "Calls of hub methods.", ["hub", "method", "outcome"])
        self.bounds = Counter(
            "auricle_bound_reached_total", "How often a configured bound was reached.", ["bound"], registry=registry
        )
        self.unknown_fields = Counter(
            "auricle_unknown_fields_total",
            "Fields of payloads that are unknown here.",
            registry=registry,
        )
        self.deliveries = Tallies(
            registry, "auricle_delivery_state", "Deliveries that reached a state.", ["mode", "state"]
        )
        count = partial(Counter, registry=registry)
        self.alarms = count(
            "auricle_alarms_total",
            "Alarms of devices that were raised, and refusals of phones that tell of an attack or a bug.",
            ["alarm"],
        )
        self.restores = count(
            "auricle_restores_total", "Requests to restore what a session began with, by cause.", ["cause"]
        )
        self.device_failures = count(
            "auricle_device_failures_total", "Looks at one device that an error has ended, by its class.", ["error"]
        )
        self.refusals = count(
            "auricle_refusals_total", "Changes that were refused, by stable code and rule.", ["code", "rule"]
        )
        # ``outcome``: sent, gone, later, refused, logged.
        self.pushes = Tallies(
            registry, "auricle_push", "Pushes, by what became of them at the push service.", ["platform", "outcome"]
        )
        self.unauthenticated = Counter(
            "auricle_unauthenticated_total", "Requests with no good token.", registry=registry
        )
        Gauge("auricle_tasks", "Tasks of the event loop.", registry=registry).set_function(_tasks)
        self.storage = StorageMetrics(registry, self.bounds)

    def watch_log(self, lost: Callable[[], float]) -> None:
        """Show how many lines could not be written."""
        self.gauge("auricle_log_lines_lost", "Lines of the log that could not be written.").set_function(lost)

    def counter(self, name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
        """A counter of some part, made when it is first asked for: parts may be made more than once in a process."""
        made = self._counters.get(name)
        if made is None:
            made = self._counters[name] = Counter(name, documentation, labels, registry=self.registry)
        return made

    def gauge(self, name: str, documentation: str) -> Gauge:
        """A gauge of some part, made as a counter is."""
        made = self._gauges.get(name)
        if made is None:
            made = self._gauges[name] = Gauge(name, documentation, registry=self.registry)
        return made

    def reached(self, bound: str) -> None:
        """A bound was reached; ``bound`` is its configuration field."""
        self.bounds.labels(bound).inc()

    def timed_out(self, which: str) -> None:
        """A client was silent for too long, ``which`` as in the protocol's ``TimedOut``."""
        self.reached(SILENCES[which])

    def broken(self, code: str) -> None:
        """A client broke the protocol, ``code`` as in its ``Broken``: perhaps by more than a message may hold."""
        bound = EXCESSES.get(code)
        if bound is not None:
            self.reached(bound)

    def page(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)
