"""The part of the configuration that is about Event Grid, which tells of threads: who may, of what, how it is known."""

import re
from dataclasses import dataclass, field
from typing import Final

from media.entra import DISCOVERY, Expected, discovery_of, issuers_of

from .config_error import ConfigError

__all__ = ["AcsEventsConfig"]

_MIN_SECRET_CHARS: Final = 32
_MOST: Final = 16
# "common" and the like would let any tenant in.
_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOPIC: Final = re.compile(r"/subscriptions/[^/\s]+(/[^\s]*[^/\s])?", re.IGNORECASE)
# Of the service principal that Event Grid has in every tenant.
_EVENT_GRID: Final = "4962773b-9cdb-44cf-a8bf-237846a00ab7"


# No slots: of two parts that have some no class can be made.
@dataclass(frozen=True)
class AcsEventsConfig:
    """Fields of ``Config``. Lists are comma-separated and have at most 16 entries.

    ``acs_event_topic``: the topics that are listened to, ids of resources or ``/subscriptions/ID`` for all of one.
    ``acs_event_secret``: what Event Grid sends in ``X-Auricle-Event-Secret``. ``acs_event_tenant``: the Entra tenant
    whose tokens it sends; either is enough, both empty: it is not listened to.
    ``acs_event_audience``: the application of the webhook in that tenant: its id, or URIs of its own.
    ``acs_event_publishers``: applications whose tokens are taken. ``acs_event_discovery``: where the tenant says where
    its keys are, empty: in the public cloud. ``acs_event_issuers``: empty: those that belong to that document.
    ``acs_event_keys_again_s``: keys are asked for so often at most. ``acs_event_keys_kept_s``: how long they are good
    while Entra is away. ``max_acs_event_document_bytes``: of a document of Entra. ``max_acs_event_waiting``: deliveries
    that wait for keys.
    """

    acs_event_secret: str = field(default="", repr=False)
    acs_event_topic: str = ""
    acs_event_tenant: str = ""
    acs_event_audience: str = ""
    acs_event_publishers: str = _EVENT_GRID
    acs_event_discovery: str = ""
    acs_event_issuers: str = ""
    acs_event_keys_again_s: float = 60.0
    acs_event_keys_kept_s: float = 86_400.0
    max_acs_event_document_bytes: int = 262_144
    max_acs_event_waiting: int = 64

    def _check_acs_events(self, *, dev: bool) -> None:
        if self.acs_event_secret and len(self.acs_event_secret) < _MIN_SECRET_CHARS:
            raise ConfigError(f"acs_event_secret: must have at least {_MIN_SECRET_CHARS} characters")
        if self.acs_events_on != bool(self.acs_event_topic):
            raise ConfigError("acs_event_topic: needs acs_event_secret or acs_event_tenant, and they need it")
        for name in ("topic", "audience", "publishers", "issuers"):
            if len(_parts(getattr(self, f"acs_event_{name}"))) > _MOST:
                raise ConfigError(f"acs_event_{name}: at most {_MOST}")
        for topic in self.acs_event_topics:
            if not _TOPIC.fullmatch(topic):
                raise ConfigError("acs_event_topic: must be the id of a resource, /subscriptions/...")
        self._check_entra(dev=dev)

    def _check_entra(self, *, dev: bool) -> None:
        if not self.acs_event_tenant:
            if self.acs_event_audience or self.acs_event_discovery or self.acs_event_issuers:
                raise ConfigError("acs_event_audience, acs_event_discovery, acs_event_issuers: need acs_event_tenant")
            return
        if not _GUID.fullmatch(self.acs_event_tenant.lower()):
            raise ConfigError("acs_event_tenant: must be the id of one tenant, a GUID")
        expected = self.acs_event_expected
        if not expected.audiences:
            raise ConfigError("acs_event_audience: acs_event_tenant needs it")
        if not expected.publishers or not all(_GUID.fullmatch(one) for one in expected.publishers):
            raise ConfigError("acs_event_publishers: must be ids of applications, GUIDs")
        schemes = ("https://", "http://") if dev else ("https://",)
        if not self.acs_event_keys_at.startswith(schemes) or not self.acs_event_keys_at.endswith(DISCOVERY):
            raise ConfigError(f"acs_event_discovery: must be https://...{DISCOVERY}")

    @property
    def acs_events_on(self) -> bool:
        """Whether Event Grid is listened to."""
        return bool(self.acs_event_secret or self.acs_event_tenant)

    @property
    def acs_event_topics(self) -> frozenset[str]:
        """What events may be of, in lower case."""
        return frozenset(one.lower() for one in _parts(self.acs_event_topic))

    @property
    def acs_event_keys_at(self) -> str:
        """The address of the tenant's discovery document."""
        return self.acs_event_discovery or discovery_of(self.acs_event_tenant.lower())

    @property
    def acs_event_expected(self) -> Expected:
        """Of a token."""
        tenant = self.acs_event_tenant.lower()
        usual = issuers_of(tenant, self.acs_event_keys_at)
        audiences = _parts(self.acs_event_audience)
        # Who asks for a token may name an application by its id, or by the URI that it has unless it is given another.
        uris = [f"api://{one}" for one in audiences if _GUID.fullmatch(one.lower())]
        return Expected(
            issuers=frozenset(_parts(self.acs_event_issuers) or usual),
            audiences=frozenset((*audiences, *uris)),
            publishers=frozenset(one.lower() for one in _parts(self.acs_event_publishers)),
        )


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
