"""Every counter of the server, in one registry per process. No label ever names a user, a device or a connection."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

CONNECTION_BUCKETS_S = (0.01, 0.1, 1, 5, 15, 60, 300, 900, 3_600, 14_400)


class Metrics:
    """The names follow OpenTelemetry's SignalR conventions where these exist."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
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
        self.invocations = Counter(
            "auricle_hub_invocations_total", "Calls of hub methods.", ["hub", "method", "outcome"], registry=registry
        )
        self.bounds = Counter(
            "auricle_bound_reached_total", "How often a configured bound was reached.", ["bound"], registry=registry
        )
        self.unknown_fields = Counter(
            "auricle_unknown_fields_total",
            "Fields of payloads that are unknown here.",
            registry=registry,
        )
        self.deliveries = Counter(
            "auricle_delivery_state_total", "Deliveries that reached a state.", ["mode", "state"], registry=registry
        )
        self.refusals = Counter(
            "auricle_refusals_total",
            "Changes that were refused, by stable code and rule.",
            ["code", "rule"],
            registry=registry,
        )
        self.unauthenticated = Counter(
            "auricle_unauthenticated_total", "Requests with no good token.", registry=registry
        )

    def page(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)
