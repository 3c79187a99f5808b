"""Payloads of the session itself: who is there, which contract both sides speak."""

from .base import Answer, Ordinal, Wire

__all__ = ["Hello", "HelloAnswer", "WhoAmIAnswer"]


class Hello(Wire, frozen=True, kw_only=True):
    """The first call of a client; without it contract 1 is assumed."""

    contract: Ordinal
    app: str = ""
    features: tuple[str, ...] = ()


class HelloAnswer(Answer, frozen=True, kw_only=True):
    """``contract`` is the highest version that both sides speak."""

    contract: int
    server: str
    features: tuple[str, ...] = ()


class WhoAmIAnswer(Answer, frozen=True, kw_only=True):
    """The caller as the server sees it."""

    user: str
    clinic: str
    roles: tuple[str, ...]
    connection_id: str
