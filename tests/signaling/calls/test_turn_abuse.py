"""What an attacker would ask a TURN server for, asked of a real coturn with the configuration that we ship."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aioice import stun
from aioice.turn import TurnClientUdpProtocol

from media.ice import turn_credential
from tests.coturn import Turn, coturn, needs_coturn

CONFIG = Path(__file__).parents[3] / "deploy" / "turnserver.conf"
NOBODYS = (
    *("127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),
    *("192.0.0.8", "198.18.0.1", "224.0.0.1", "255.255.255.255"),
)
NOBODYS_V6 = ("::1", "fe80::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "fd00::1", "::", "64:ff9b::a00:1", "ff02::1")

pytestmark = needs_coturn


@pytest.fixture(scope="module")
def turn() -> Iterator[Turn]:
    with coturn(CONFIG) as found:
        yield found


@asynccontextmanager
async def client(turn: Turn, user: str, *, ends_in_s: int = 60) -> AsyncIterator[TurnClientUdpProtocol]:
    name, password = turn_credential(turn.secret.encode(), "c1", user, until_s=int(time.time()) + ends_in_s)
    server = ("127.0.0.1", turn.port)
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: TurnClientUdpProtocol(server, username=name, password=password, lifetime=60, channel_refresh_time=50),
        remote_addr=server,
    )
    try:
        yield protocol
    finally:
        if protocol.refresh_task is not None:
            protocol.refresh_task.cancel()
        transport.close()


async def permitted(protocol: TurnClientUdpProtocol, address: str) -> int:
    """The code of what came of CreatePermission, 0 when the server permits it."""
    request = stun.Message(stun.Method.CREATE_PERMISSION, stun.Class.REQUEST)
    request.attributes["XOR-PEER-ADDRESS"] = (address, 5_000)
    return await code_of(protocol, request)


async def bound(protocol: TurnClientUdpProtocol, address: str) -> int:
    """The same of a channel, which is a permission too."""
    request = stun.Message(stun.Method.CHANNEL_BIND, stun.Class.REQUEST)
    request.attributes["CHANNEL-NUMBER"] = 0x4001
    request.attributes["XOR-PEER-ADDRESS"] = (address, 5_000)
    return await code_of(protocol, request)


async def code_of(protocol: TurnClientUdpProtocol, request: stun.Message) -> int:
    try:
        await protocol.request_with_retry(request)
    except stun.TransactionFailed as failed:
        return failed.response.error_code or -1
    return 0


async def test_nobody_is_reached_over_it_who_must_not_be(turn: Turn) -> None:
    async with client(turn, "eve") as eve:
        await eve.connect()
        for address in NOBODYS:
            assert await permitted(eve, address) == 403, address
            assert await bound(eve, address) == 403, address
        # An allocation of the other family: refused whatever the address.
        for address in NOBODYS_V6:
            assert await permitted(eve, address) in (403, 443), address
        assert await permitted(eve, "198.35.26.96") == 0
        await eve.delete()


async def test_a_credential_that_has_ended_or_is_not_ours_gives_nothing(turn: Turn) -> None:
    async with client(turn, "ann", ends_in_s=-61) as ann:
        with pytest.raises(stun.TransactionFailed) as ended:
            await ann.connect()
        assert ended.value.response.error_code == 401
    async with client(Turn(turn.url, turn.port, "another secret"), "ann") as ann:
        with pytest.raises(stun.TransactionFailed) as foreign:
            await ann.connect()
        assert foreign.value.response.error_code == 401


async def test_one_person_gets_only_so_many_allocations_and_another_still_does(turn: Turn) -> None:
    given, codes = [], set()
    async with asyncio.timeout(60):
        try:
            for _ in range(100):
                entered = client(turn, "greedy", ends_in_s=120)
                protocol = await entered.__aenter__()
                given.append((entered, protocol))
                try:
                    await protocol.connect()
                except stun.TransactionFailed as failed:
                    codes.add(failed.response.error_code)
            assert codes == {486}
            held = [protocol for _, protocol in given if protocol.relayed_address is not None]
            assert len(held) == 12
            async with client(turn, "pat") as pat:
                assert await pat.connect()
                await pat.delete()
        finally:
            for entered, protocol in given:
                if protocol.relayed_address is not None:
                    await protocol.delete()
                await entered.__aexit__(None, None, None)


def test_every_special_range_is_in_the_file() -> None:
    """Each address above that must not be reached stands in a range of the file, of both families."""
    from ipaddress import ip_address

    ranges = []
    for line in CONFIG.read_text().splitlines():
        if line.startswith("denied-peer-ip="):
            low, _, high = line.partition("=")[2].partition("-")
            ranges.append((ip_address(low), ip_address(high or low)))
    for text in (
        *NOBODYS,
        *(one for one in NOBODYS_V6 if one != "::"),
        "2001:db8::1",
        "2002:a00:1::",
        "fc00::1",
        "febf::1",
        "203.0.113.9",
    ):
        address = ip_address(text)
        assert any(low.version == address.version and low <= address <= high for low, high in ranges), text  # type: ignore[operator]  # of one version
    for text in ("198.35.26.96", "2a00:1450:4001:81b::200e", "8.8.8.8"):
        address = ip_address(text)
        assert not any(low.version == address.version and low <= address <= high for low, high in ranges), text  # type: ignore[operator]  # ditto
