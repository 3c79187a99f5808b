"""What is counted of the bus: ``auricle_backplane_*``. No label ever names a channel."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from signaling.metrics import Metrics, Tallies

__all__ = ["BusMetrics"]

_FLUSH_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2)


class BusMetrics:
    """``limits.BusWatch`` for one process."""

    def __init__(self, metrics: Metrics) -> None:
        registry: CollectorRegistry = metrics.registry
        self.reached = metrics.reached
        messages = Tallies(registry, "auricle_backplane_messages", "Messages between pods.", ["direction"])
        self._published, self.received = messages.of("published"), messages.of("received")
        self._dropped = Tallies(
            registry, "auricle_backplane_dropped", "Messages that were not published, or got no answer.", ["reason"]
        )
        self._refused = Tallies(
            registry, "auricle_backplane_refused", "What was heard and is of no pod of ours, or not new.", ["reason"]
        )
        self._lost = Counter(
            "auricle_backplane_lost_total", "Connections to the bus that were lost or not made.", registry=registry
        )
        self._late = Counter("auricle_backplane_late_total", "Answers of the bus that were late.", registry=registry)
        self._flushes = Histogram(
            "auricle_backplane_flush_seconds",
            "How long the answers to what was published together took.",
            buckets=_FLUSH_BUCKETS_S,
            registry=registry,
        )
        self._connected = Gauge("auricle_backplane_connected", "1 while the bus carries messages.", registry=registry)
        self._channels = Gauge("auricle_backplane_channels", "Channels that are listened to.", registry=registry)
        self._waiting = Gauge("auricle_backplane_waiting_bytes", "What waits to be published.", registry=registry)

    def follow(
        self, *, connected: Callable[[], float], channels: Callable[[], float], waiting_bytes: Callable[[], float]
    ) -> None:
        """Where to look for how it is now."""
        self._connected.set_function(connected)
        self._channels.set_function(channels)
        self._waiting.set_function(waiting_bytes)

    def published(self, messages: int) -> None:
        """See ``BusWatch``."""
        self._published.value += messages

    def dropped(self, reason: str, messages: int) -> None:
        """See ``BusWatch``."""
        self._dropped.of(reason).value += messages

    def refused(self, reason: str) -> None:
        """See ``BusWatch``."""
        self._refused.of(reason).value += 1
        if reason == "stale":
            self.reached("bus_skew_s")

    def lost(self, cause: str) -> None:
        """See ``BusWatch``. The cause is told in the log."""
        self._lost.inc()

    def late(self) -> None:
        """See ``BusWatch``."""
        self._late.inc()
        self.reached("bus_flush_s")

    def flushed(self, messages: int, duration_s: float) -> None:
        """See ``BusWatch``."""
        if messages:
            self._flushes.observe(duration_s)
