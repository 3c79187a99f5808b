"""How patient all clients of a run are: what takes minutes in life may take seconds here."""

from typing import Final

from clients.hub_client import HubOptions, ReconnectPolicy
from protocol.signalr.endpoint import HubLimits

__all__ = ["OPTIONS", "RECONNECT"]

RECONNECT: Final = ReconnectPolicy(base_s=0.05, cap_s=0.5)
OPTIONS: Final = HubOptions(
    limits=HubLimits(max_message_bytes=1_048_576, keep_alive_s=1.0, client_timeout_s=4.0, handshake_timeout_s=3.0),
    connect_timeout_s=4.0,
    call_timeout_s=4.0,
    send_timeout_s=4.0,
    tick_s=0.25,
)
