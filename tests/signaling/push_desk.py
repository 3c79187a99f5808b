"""A push notifier beside the service that it sends to, with clocks that the test sets."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fitting.push import PushNote, PushNotifier, PushTarget
from signaling.config import Config
from signaling.log import LogBook
from signaling.metrics import Metrics
from signaling.push_notifier import push_notifier
from tests.fakes.notification_hubs import NotificationHubs, notification_hubs
from tests.signaling.conftest import Clock

__all__ = ["ANDROID", "APPLE", "PACKAGE", "QUESTION", "SECRETS", "Desk", "hub_desk", "log_desk"]

ANDROID = PushTarget("fcm", "bk3RNwTe3H0:CI2k_HHwgIpoDKCIZvvDMExUdFQ3P1")
APPLE = PushTarget("apns", "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0")
PACKAGE = PushNote("package", "dl_7Q2w9XcV", "n0nce5Kd", 3_600)
QUESTION = PushNote("question", "dl_pK4m2ZtR", "n0nce8Yx", 259_200)
SECRETS = (ANDROID.token, APPLE.token, PACKAGE.pointer, PACKAGE.nonce, QUESTION.pointer, QUESTION.nonce, "pAsSw0rd")


@dataclass
class Desk:
    """A notifier and all that can be seen of it."""

    notifier: PushNotifier
    metrics: Metrics
    log: io.StringIO
    wall: Clock
    monotonic: Clock
    service: NotificationHubs

    def wait(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.wall.now_s += seconds
        self.monotonic.now_s += seconds

    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def events(self) -> list[str]:
        """The names of its lines."""
        return [line["event"] for line in self.lines()]

    def count(self, name: str, **labels: str) -> float:
        """One metric, 0 when it was never counted."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def hub_desk(**changes: Any) -> AsyncIterator[Desk]:
    """A notifier over a notification hub; ``changes`` are of the configuration."""
    wall, monotonic = Clock(), Clock(1_000.0)
    async with notification_hubs(wall) as service:
        settings = {
            "push_connection_string": service.connection_string,
            "push_hub": service.hub,
            "push_url": service.url,
        } | changes
        metrics, log = Metrics(), io.StringIO()
        notifier = push_notifier(Config(**settings), metrics, LogBook(log), clock=wall, monotonic=monotonic)
        yield Desk(notifier, metrics, log, wall, monotonic, service)
        await notifier.close()


@asynccontextmanager
async def log_desk() -> AsyncIterator[Desk]:
    """The notifier of a configuration that names no hub."""
    async with hub_desk(push_connection_string="", push_hub="", push_url="") as desk:
        yield desk
