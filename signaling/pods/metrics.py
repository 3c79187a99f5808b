"""What pods that ask each other count. Labels are words of which there are few."""

from signaling.metrics import Metrics

__all__ = ["PodMetrics"]


class PodMetrics:
    """Of one process."""

    def __init__(self, metrics: Metrics) -> None:
        self.reached = metrics.reached
        # ``reason`` as in ``signature``.
        self.refused = metrics.counter(
            "auricle_internal_refused_total", "What was asked inside and is of no pod of ours.", ["reason"]
        )
        # ``outcome``: ``answered``; ``gone``, ``silent``, ``refused``, ``unknown``: no answer;
        # ``left``: the client has; ``full``.
        self.forwarded = metrics.counter(
            "auricle_forwarded_total", "Requests for connections of other pods.", ["kind", "outcome"]
        )
        self.certificate_expires = metrics.gauge(
            "auricle_internal_certificate_expires_timestamp_seconds",
            "Until when what this pod shows the others is good; 0 without TLS.",
        )
        self.unreached = metrics.counter(
            "auricle_pods_unreached_total", "Pods that did not say whether a connection is theirs."
        )
