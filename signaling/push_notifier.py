"""Which push notifier a server has: a notification hub when one is configured, otherwise a line in the log.

Read ``push_notifier`` first; ``app`` calls it, and nobody else chooses.
"""

from collections.abc import Callable

from fitting.notification_hubs import DEFAULT_RETRY_S
from fitting.push import Later, PushNote, PushNotifier, PushOutcome, PushTarget, Sent

from .config import Config
from .log import LogBook
from .metrics import Metrics
from .push_hub import HubPush, PushLimits

__all__ = ["LogPush", "push_notifier"]


class LogPush:
    """``fitting.push.PushNotifier`` that sends nothing: it counts, and says in the log that a push was due."""

    def __init__(self, metrics: Metrics, log: LogBook) -> None:
        self._metrics = metrics
        self._log = log
        self._closed = False

    async def send(self, to: PushTarget, note: PushNote) -> PushOutcome:
        """See ``PushNotifier``; the line names neither phone nor pointer."""
        if self._closed:
            return Later(DEFAULT_RETRY_S)
        self._metrics.pushes.of(to.platform, "logged").value += 1
        self._log.push_logged(platform=to.platform, kind=note.kind)
        return Sent()

    async def close(self) -> None:
        """See ``PushNotifier``."""
        self._closed = True


def push_notifier(
    config: Config,
    metrics: Metrics,
    log: LogBook,
    *,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
) -> PushNotifier:
    """The notifier that ``config`` asks for. ``clock`` is Unix time."""
    address = config.push_address
    if address is None:
        return LogPush(metrics, log)
    return HubPush(
        address,
        text=config.push_text,
        limits=PushLimits(timeout_s=config.push_timeout_s, max_sends=config.max_push_sends),
        metrics=metrics,
        log=log,
        clock=clock,
        monotonic=monotonic,
    )
