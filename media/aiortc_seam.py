"""The one file that touches the insides of aiortc's ICE: which addresses and ports of this machine it offers.

It never offers the loopback address, so that on a machine that has no other one two ends never meet; and it takes any
port, which no firewall can be told of. Importing this loads aiortc, which takes a while: only who makes calls does.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import aioice.ice
from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCIceServer, RTCPeerConnection
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from msgspec import UnsetType

from protocol.contract.calls import IceServer

__all__ = ["Bind", "bind_within", "new_peer"]

# Opens a UDP port of an address for what the factory makes, and returns that. Raises OSError.
Bind = Callable[[Callable[[], Any], str, int], Awaitable[Any]]

_LOOPBACK: Final = "127.0.0.1"
_COMPONENT: Final = 1
_addresses_of_machine = aioice.ice.get_host_addresses


def _addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    return _addresses_of_machine(use_ipv4, use_ipv6) or [_LOOPBACK]


def new_peer(
    servers: Sequence[IceServer], *, relay_only: bool = False, one_transport: bool = False
) -> RTCPeerConnection:
    """A peer connection that asks these servers and no others: none at all would mean a public one.

    ``relay_only``: it is reached over TURN or not at all, and tells nobody its own addresses. ``one_transport``: all
    its media go over one socket, also while the other end has not said that it can do so.
    """
    aioice.ice.get_host_addresses = _addresses
    policy = RTCIceTransportPolicy.RELAY if relay_only else RTCIceTransportPolicy.ALL
    bundle = RTCBundlePolicy.MAX_BUNDLE if one_transport else RTCBundlePolicy.BALANCED
    return RTCPeerConnection(
        RTCConfiguration(iceServers=[_server(one) for one in servers], iceTransportPolicy=policy, bundlePolicy=bundle)
    )


def bind_within(peer: RTCPeerConnection, bind: Bind, ports: Iterable[int]) -> None:
    """Have it take a port of these, the first that is free, for each address; none when none is.

    To be called when its transports are known and nothing was gathered.
    """
    for transceiver in peer.getTransceivers():
        connection: Any = transceiver.receiver.transport.transport._connection
        connection.get_component_candidates = _Within(connection, bind, tuple(ports))


class _Within:
    """``Connection.get_component_candidates`` of aioice, but for where it binds. What TURN servers give it leaves as it
    is; STUN is not asked, since a server knows its address.
    """

    def __init__(self, connection: aioice.ice.Connection, bind: Bind, ports: tuple[int, ...]) -> None:
        self._connection = connection
        self._bind = bind
        self._ports = ports

    async def __call__(self, component: int, addresses: list[str], timeout: int = 5) -> list[Any]:  # noqa: ASYNC109  # as it is called
        found = [one for address in addresses if (one := await self._bound(address)) is not None]
        connection = self._connection
        connection.stun_server = None
        relayed = await type(connection).get_component_candidates(connection, component, [], timeout)
        return [*found, *relayed]

    async def _bound(self, address: str) -> Any:
        connection = self._connection
        for port in self._ports:
            try:
                protocol = await self._bind(lambda: aioice.ice.StunProtocol(connection), address, port)
            except OSError:
                continue
            protocol.local_candidate = Candidate(
                foundation=candidate_foundation("host", "udp", address),
                component=_COMPONENT,
                transport="udp",
                priority=candidate_priority(_COMPONENT, "host"),
                host=address,
                port=port,
                type="host",
            )
            connection._protocols.append(protocol)
            return protocol.local_candidate
        return None


def _server(server: IceServer) -> RTCIceServer:
    return RTCIceServer(
        urls=list(server.urls),
        username=None if isinstance(server.username, UnsetType) else server.username,
        credential=None if isinstance(server.credential, UnsetType) else server.credential,
    )
