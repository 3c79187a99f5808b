"""How patient all clients of a run are: what takes minutes in life may take seconds here."""

from dataclasses import replace
from typing import Final

from clients.hub_client import HubOptions, ReconnectPolicy
from clients.hub_link import CLIENT_LIMITS
from tests.chaos.waiting import PATIENCE

__all__ = ["LIMITS", "OPTIONS", "RECONNECT", "RECONNECT_FROM_START"]

RECONNECT: Final = ReconnectPolicy(base_s=0.05, cap_s=0.5)
RECONNECT_FROM_START: Final = replace(RECONNECT, from_start=True)
LIMITS: Final = replace(
    CLIENT_LIMITS, keep_alive_s=1.0, client_timeout_s=4.0 * PATIENCE, handshake_timeout_s=3.0 * PATIENCE
)
OPTIONS: Final = HubOptions(
    limits=LIMITS,
    connect_timeout_s=4.0 * PATIENCE,
    call_timeout_s=4.0 * PATIENCE,
    send_timeout_s=4.0 * PATIENCE,
    tick_s=0.25,
)
