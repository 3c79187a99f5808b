"""The part of the assembly that makes this process a pod among others. Read ``Pods`` first."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from .config import Config
from .health import Readiness, register_health
from .log import LogBook
from .metrics import Metrics
from .pods.internal import OVERVIEW, InternalParts, InternalServer
from .pods.joined import Joined
from .pods.metrics import PodMetrics
from .pods.signature import Verifier
from .transports.aiohttp_seam import Deadlines

__all__ = ["PodParts", "Pods"]


@dataclass(frozen=True, slots=True)
class PodParts:
    """What it is made of. ``signing_key`` is shared by the pods of one deployment."""

    config: Config
    signing_key: bytes
    joined: Joined
    metrics: Metrics
    readiness: Readiness
    log: LogBook
    clock: Callable[[], float]
    monotonic: Callable[[], float]


class Pods:
    """This process, named ``pod``, and how it and others ask each other."""

    def __init__(self, parts: PodParts) -> None:
        config = parts.config
        self.pod = parts.joined.pod
        self._directory = parts.joined.directory
        self._key = hmac.digest(parts.signing_key, b"internal", hashlib.sha256)
        self.metrics = PodMetrics(parts.metrics)
        self.internal = InternalServer(
            InternalParts(
                pod=self.pod,
                listen=config.internal_listen,
                address=config.internal_address,
                verifier=Verifier(self._key, pod=self.pod, skew_s=config.bus_skew_s, clock=parts.clock),
                deadlines=Deadlines.of(config, parts.metrics.reached),
                metrics=self.metrics,
                log=parts.log,
            )
        )
        register_health(self.internal.app, parts.readiness, parts.metrics, under=OVERVIEW)

    async def open(self) -> None:
        """Begin to answer others."""
        await self.internal.open()
        if self.internal.address:
            self._directory.reached_at(self.internal.address)

    async def close(self) -> None:
        """Answer no more."""
        await self.internal.close()
