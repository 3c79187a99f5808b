"""Makes what listens to Event Grid, as configured. Starts nothing."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from media.entra import Flaw
from signaling.bodies import Bodies
from signaling.log import LogBook

from .entra_keys import EntraKeys, KeyLimits, KeySource
from .event_auth import EntraTokens, EventAuth
from .events import AcsEvents

if TYPE_CHECKING:
    from signaling.assembly import Assembly

__all__ = ["acs_events"]

# What only somebody with a token of the tenant can bring about: others could fill the log.
_MISTAKES: Final = frozenset({Flaw.ISSUER, Flaw.AUDIENCE, Flaw.PUBLISHER, Flaw.EXPIRED, Flaw.EARLY, Flaw.TOPIC})


def acs_events(of: "Assembly", poke: Callable[[str], Awaitable[None]]) -> AcsEvents | None:
    """None when Event Grid is not listened to: then threads are looked at by themselves."""
    config, metrics = of.config, of.metrics
    if not config.acs_events_on:
        return None
    came = metrics.counter("auricle_acs_events_total", "Deliveries of Event Grid, by what became of them.", ["outcome"])
    told = _Told(of.log)

    def counted(outcome: str) -> None:
        came.labels(outcome).inc()
        told.heard(outcome)

    bodies = Bodies(config.max_body_bytes, "max_body_bytes", config.body_timeout_s, metrics.reached)
    auth = EventAuth(config.acs_event_secret, _tokens(of, told))
    return AcsEvents(auth, config.acs_event_topics, bodies, poke, counted)


def _tokens(of: "Assembly", told: "_Told") -> EntraTokens | None:
    config = of.config
    if not config.acs_event_tenant:
        return None
    expected = config.acs_event_expected
    source = KeySource(config.acs_event_keys_at, expected.issuers, ca=config.acs_ca, https_only=not config.dev)
    limits = KeyLimits(
        timeout_s=config.acs_timeout_s,
        again_s=config.acs_event_keys_again_s,
        kept_s=config.acs_event_keys_kept_s,
        max_bytes=config.max_acs_event_document_bytes,
        max_waiting=config.max_acs_event_waiting,
    )
    keys = EntraKeys(source, limits, monotonic=of.monotonic, reached=of.metrics.reached, told=told.keys)
    return EntraTokens(keys, expected, of.clock)


@dataclass(slots=True)
class _Told:
    """Trouble is told once, until something has gone well."""

    log: LogBook
    mistake: str = ""
    cause: str = ""

    def heard(self, outcome: str) -> None:
        if outcome in ("taken", "validated"):
            self.mistake = ""
        elif outcome in _MISTAKES and outcome != self.mistake:
            self.mistake = outcome
            self.log.acs_event_refused(reason=outcome)

    def keys(self, cause: str) -> None:
        if cause and not self.cause:
            self.log.acs_event_keys_away(cause=cause)
        elif self.cause and not cause:
            self.log.acs_event_keys_back()
        self.cause = cause
