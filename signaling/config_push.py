"""The part of the configuration that is about waking phones."""

from dataclasses import dataclass, field

from fitting.notification_hubs import HubAddress, hub_address
from fitting.push_messages import MAX_TEXT_CHARS

from .config_error import ConfigError

__all__ = ["PushConfig"]


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
            raise ConfigError(f"push_connection_string, push_hub, push_url: {error}") from None

    @property
    def push_address(self) -> HubAddress | None:
        """The notification hub; None when none is configured."""
        if not (self.push_connection_string or self.push_hub or self.push_url):
            return None
        return hub_address(self.push_connection_string, self.push_hub, url=self.push_url)
