"""Payloads of the session itself: who is there, which contract both sides speak."""

from .base import Answer, Ordinal, Text, Wire

__all__ = [
    "Draining",
    "Hello",
    "HelloAnswer",
    "PresenceChanged",
    "Reauthenticate",
    "ReauthenticateAnswer",
    "SessionExpiring",
    "WhoAmIAnswer",
]


class Hello(Wire, frozen=True, kw_only=True):
    """The first call of a client; without it contract 1 is assumed."""

    contract: Ordinal
    app: Text = ""
    features: tuple[Text, ...] = ()


class HelloAnswer(Answer, frozen=True, kw_only=True):
    """``contract`` is the highest version that both sides speak."""

    contract: int
    server: str
    features: tuple[str, ...] = ()


class Reauthenticate(Wire, frozen=True, kw_only=True):
    """A new token of the same person, before the old one ends. It is never logged nor shown."""

    token: Text

    def __repr__(self) -> str:
        """A token must not reach a log through a struct's text."""
        return "Reauthenticate(token=...)"


class ReauthenticateAnswer(Answer, frozen=True, kw_only=True):
    """The connection lives until then."""

    expires_at: str


class SessionExpiring(Wire, frozen=True, kw_only=True):
    """To the client: its token ends then, and its connection with it unless it shows a new one."""

    expires_at: str


class Draining(Wire, frozen=True, kw_only=True):
    """To everybody: the server is about to close every connection; come back then."""

    retry_after_ms: int


class PresenceChanged(Wire, frozen=True, kw_only=True):
    """To whoever watches a device: its wearer has come, on the first connection anywhere, or is gone from all of them.

    Away until it is told otherwise: who is there already is told to whoever begins to watch.
    It is told some seconds late, and never in place of an answer: nothing is refused because somebody seems to be away.
    """

    user: str
    online: bool


class WhoAmIAnswer(Answer, frozen=True, kw_only=True):
    """The caller as the server sees it."""

    user: str
    clinic: str
    roles: tuple[str, ...]
    connection_id: str
