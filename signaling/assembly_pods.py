"""The part of the assembly that makes this process a pod among others. Read ``Pods`` first."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .bodies import Bodies
from .config import Config
from .health import Readiness, register_health
from .log import LogBook
from .metrics import Metrics
from .pods.internal import OVERVIEW, InternalParts, InternalServer
from .pods.internal_client import InternalClient
from .pods.joined import Joined
from .pods.metrics import PodMetrics
from .pods.owners import Owners
from .pods.signature import Signer, Verifier
from .pods.tls import PodTls, TlsFiles
from .pods.whereabouts import WHOSE, Whereabouts, WhereaboutsParts
from .tasks import TaskSet
from .transports.aiohttp_seam import Deadlines
from .transports.elsewhere import Elsewhere
from .transports.forward import Forwarder, ForwardParts
from .transports.tunnel import TunnelLimits

if TYPE_CHECKING:
    from .bus.tables_redis import RedisTables

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
        self.joined = parts.joined
        self._log = parts.log
        self.pod = parts.joined.pod
        self._directory = parts.joined.directory
        self._key = hmac.digest(parts.signing_key, b"internal", hashlib.sha256)
        self.metrics = PodMetrics(parts.metrics)
        self._tls = self._pod_tls(config)
        self.internal = InternalServer(
            InternalParts(
                pod=self.pod,
                listen=config.internal_listen,
                address=config.internal_address,
                backlog=config.listen_backlog,
                verifier=Verifier(self._key, pod=self.pod, skew_s=config.bus_skew_s, clock=parts.clock),
                deadlines=Deadlines.of(config, parts.metrics.reached),
                metrics=self.metrics,
                log=parts.log,
                tls=self._tls,
            )
        )
        register_health(self.internal.app, parts.readiness, parts.metrics, under=OVERVIEW)
        signer = Signer(self._key, pod=self.pod, clock=parts.clock)
        self.client = InternalClient(signer, timeout_s=config.forward_timeout_s, tls=self._tls)
        self._owners: Owners | None = None
        self._whereabouts: Whereabouts | None = None
        self._forwarder: Forwarder | None = None
        self.elsewhere: Elsewhere | None = None
        """None: every connection is here, as far as this process knows."""
        if config.internal_listen and parts.joined.tables is not None:
            self._look_around(parts, parts.joined.tables)

    def _pod_tls(self, config: Config) -> PodTls | None:
        if not config.internal_cert_file:
            return None
        return PodTls(
            TlsFiles(config.internal_cert_file, config.internal_key_file, config.internal_ca_file),
            name=config.internal_cert_name,
            log=self._log,
            expires=self.metrics.certificate_expires.set,
            refused=self.metrics.refused.labels("handshake").inc,
        )

    def _look_around(self, parts: PodParts, tables: "RedisTables") -> None:
        from .pods.directory_redis import place_of
        from .pods.owners_redis import RedisOwners, RedisOwnersParts

        config, owning = parts.config, TaskSet("owners", parts.log)
        self._owners = RedisOwners(
            RedisOwnersParts(
                tables,
                self.pod,
                ttl_s=config.owner_ttl_s,
                open_s=config.token_believed_s,
                max_unwritten=config.max_known_owners,
                tasks=owning,
                monotonic=parts.monotonic,
                reached=parts.metrics.reached,
                witness=place_of(self.pod),
            )
        )
        self._whereabouts = Whereabouts(
            WhereaboutsParts(
                owners=self._owners,
                directory=self._directory,
                client=self.client,
                metrics=self.metrics,
                opens=lambda: not parts.readiness.draining,
                answer_s=config.owner_answer_s,
                max_known=config.max_known_owners,
                max_asking=config.max_owner_questions,
                clock=parts.clock,
            )
        )
        self.internal.register("POST", WHOSE, self._whereabouts.answer)
        reached = parts.metrics.reached
        self._forwarder = Forwarder(
            ForwardParts(
                client=self.client,
                directory=self._directory,
                metrics=self.metrics,
                bodies=Bodies(config.max_frame_bytes, "max_frame_bytes", config.body_timeout_s, reached),
                readiness=parts.readiness,
                timeout_s=config.forward_timeout_s,
                wait_s=config.poll_timeout_s,
                max_forwards=config.max_forwards,
                tunnels=TunnelLimits(config.max_forward_bytes, config.poll_timeout_s, config.close_timeout_s, reached),
                monotonic=parts.monotonic,
            )
        )
        self.elsewhere = Elsewhere(self._whereabouts, self._owners, self._forwarder, parts.readiness)

    async def open(self) -> None:
        """Begin to answer others."""
        await self.internal.open()
        if self.internal.address:
            self._directory.reached_at(self.internal.address)
            if self._tls is not None:
                self._tls.reached_at(self.internal.address)
        elif self.joined.tables is not None:
            self._log.internal_listener_off()
        if self._owners is not None:
            await self._owners.open()

    def sweep(self) -> None:
        """Look at what may have taken too long."""
        if self._forwarder is not None:
            self._forwarder.sweep()
        if self._whereabouts is not None:
            self._whereabouts.sweep()
        if self._tls is not None:
            self._tls.refresh()

    async def drain(self) -> None:
        """This process ends soon: nobody's poll is to be on its way through it then."""
        if self._forwarder is not None:
            await self._forwarder.send_home()

    async def emptied(self) -> None:
        """Wait until nothing is on its way through this process to a connection elsewhere."""
        if self._forwarder is not None:
            await self._forwarder.emptied()

    async def close(self) -> None:
        """Answer and ask no more."""
        if self._forwarder is not None:
            self._forwarder.close()
        if self._owners is not None:
            await self._owners.close()
        await self.internal.close()
        await self.client.close()
