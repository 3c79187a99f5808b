"""How long a connection's token still lasts, and whether its client has been told."""

from enum import Enum

from .auth import Principal

__all__ = ["TokenState", "TokenWatch"]


class TokenState(Enum):
    """What there is to do about a token."""

    FINE = "fine"
    SOON = "soon"
    """It ends soon; said once per token."""
    OVER = "over"


class TokenWatch:
    """Watches the token of one connection. ``quiet_until`` is when to look again, in Unix time."""

    __slots__ = ("_notice_s", "_told", "principal", "quiet_until")

    def __init__(self, principal: Principal, *, notice_s: float) -> None:
        self._notice_s = notice_s
        self.renew(principal)

    def renew(self, principal: Principal) -> None:
        """The same person showed a new token."""
        self.principal = principal
        self._told = False
        self.quiet_until = principal.expires_at_s - self._notice_s

    def look(self, wall: float, *, can_tell: bool) -> TokenState:
        """What there is to do at ``wall``. ``can_tell``: the client would understand a message."""
        expires_at_s = self.principal.expires_at_s
        if wall >= expires_at_s:
            return TokenState.OVER
        if wall < self.quiet_until or self._told or not can_tell:
            return TokenState.FINE
        self._told = True
        self.quiet_until = expires_at_s
        return TokenState.SOON
