"""The one file that touches the insides of aiortc's ICE: which addresses of this machine it offers.

It never offers the loopback address, so that on a machine that has no other one two ends never meet. Importing this
loads aiortc, which takes a while: only who makes calls imports it.
"""

from collections.abc import Sequence
from typing import Final

import aioice.ice
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from msgspec import UnsetType

from protocol.contract.calls import IceServer

__all__ = ["new_peer"]

_LOOPBACK: Final = "127.0.0.1"
_addresses_of_machine = aioice.ice.get_host_addresses


def _addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    return _addresses_of_machine(use_ipv4, use_ipv6) or [_LOOPBACK]


def new_peer(servers: Sequence[IceServer], *, relay_only: bool = False) -> RTCPeerConnection:
    """A peer connection that asks these servers and no others: none at all would mean a public one.

    ``relay_only``: it is reached over TURN or not at all, and tells nobody its own addresses.
    """
    aioice.ice.get_host_addresses = _addresses
    policy = RTCIceTransportPolicy.RELAY if relay_only else RTCIceTransportPolicy.ALL
    return RTCPeerConnection(RTCConfiguration(iceServers=[_server(one) for one in servers], iceTransportPolicy=policy))


def _server(server: IceServer) -> RTCIceServer:
    return RTCIceServer(
        urls=list(server.urls),
        username=None if isinstance(server.username, UnsetType) else server.username,
        credential=None if isinstance(server.credential, UnsetType) else server.credential,
    )
