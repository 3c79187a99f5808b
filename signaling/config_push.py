"""The part of the configuration that is about waking phones."""

import re
from dataclasses import dataclass, field

from fitting.notification_hubs import HubAddress, hub_address
from fitting.push_messages import MAX_TEXT_CHARS

from .config_error import ConfigError

__all__ = ["PushConfig"]

PUSH_URL = re.compile(
    r"(?:https://(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)|http://(?:127\.0\.0\.1|\[::1\]|localhost))(?::[0-9]{1,5})?"
)


@dataclass(frozen=True, slots=True)
class PushConfig:
    """Fields of ``Config``.

    ``push_connection_string``, ``push_hub``: the Azure notification hub that wakes phones; both empty: none is sent,
    and the log says that one was due. ``push_url``: where it is reached, ``https://name``, or ``http://`` of this
    machine; empty: at its own endpoint.
    ``push_text``: what every push shows; the same for everybody, never about health.
    ``push_timeout_s``: how long one send may take. ``max_push_sends``: sends at a time; one more is told to come later.
    """

    push_connection_string: str = field(default="", repr=False)
    push_hub: str = ""
    push_url: str = ""
    push_text: str = "You have a message."
    push_timeout_s: float = 10.0
    max_push_sends: int = 16

    def _check_push(self) -> None:
        if not (0 < len(self.push_text) <= MAX_TEXT_CHARS and self.push_text.isprintable()):
            raise ConfigError(f"push_text: must be 1 to {MAX_TEXT_CHARS} characters in one line")
        try:
            _ = self.push_address
        except ValueError as error:
            raise ConfigError(f"push_connection_string, push_hub: {error}") from None
        if self.push_url and not PUSH_URL.fullmatch(self.push_url):
            # Tokens and signatures travel there.
            raise ConfigError("push_url: must be like https://name:port, without a path; http:// of this machine only")

    @property
    def push_address(self) -> HubAddress | None:
        """The notification hub; None when none is configured."""
        if not self.push_connection_string and not self.push_hub:
            return None
        return hub_address(self.push_connection_string, self.push_hub)
