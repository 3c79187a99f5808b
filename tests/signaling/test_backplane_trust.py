"""Whom pods talk to and whom they believe: users and passwords, certificates, and messages that are of no pod."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from signaling.bus import learn_redis
from signaling.bus.commands_redis import COMMANDS
from signaling.bus.envelope import Refused
from signaling.bus.plan import Seen
from signaling.bus.tables_redis import RedisTables
from signaling.config import ConfigError
from tests.bus_pods import BusPods, Pod, bus_pods, settled
from tests.bus_tables import table_pods
from tests.eventually import eventually
from tests.redis_server import RedisServer, redis_cluster, redis_server
from tests.signaling.test_backplane_redis import events, hears

USER = (
    "user",
    "auricle",
    "on",
    ">s3crt",
    "resetchannels",
    "&auricle:*",
    "~auricle:*",
    "-@all",
    *(f"+{name}" for name in COMMANDS),
)
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
# What tests and the server itself ask, and what no ACL forbids.
ASKED_BY_OTHERS = {"acl", "cluster", "config"}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server("--user", *USER[1:]) as server:
        yield server


@pytest.fixture
async def pods(server: RedisServer) -> AsyncIterator[BusPods]:
    async with bus_pods(server.url.replace("unix://", "unix://auricle:s3crt@")) as pods:
        yield pods


def used(server: RedisServer) -> dict[str, int]:
    """The commands that a server was ever asked, and how often."""
    lines = server.ask("INFO", "commandstats").decode().split("\r\n")
    stats = (line.removeprefix("cmdstat_").partition(":calls=") for line in lines if line.startswith("cmdstat_"))
    return {name: int(rest.partition(",")[0]) for name, _, rest in stats}


async def comes_and_goes(pods: BusPods, server: RedisServer) -> None:
    """Everything that a backplane ever does."""
    one, two = await pods.connected(), await pods.connected(bus_ping_s=0.05)
    await hears(one, two)
    two.backplane.unsubscribe("c")
    await settled(one.backplane, two.backplane)
    pings = used(server)["ping"]
    await eventually(lambda: used(server)["ping"] > pings)
    async with table_pods(pods.url) as table:
        await every_verb((await table.join()).tables)


async def every_verb(tables: RedisTables) -> None:
    """Everything that is ever asked of tables."""
    await tables.claim("k", b"v", ttl_s=60)
    await tables.delete("k")
    await tables.put("{p}:1", b"v", ttl_s=60)
    await tables.values("{p}:1")
    await tables.change("h", {b"x": b"1"}, (b"y",), ttl_s=60)
    await tables.field("h", b"x")
    await tables.fields("h")
    await tables.members("{p}", add=b"m", ttl_s=60)
    assert await tables.leave("{p}", b"m") is None


async def test_a_user_who_may_do_what_is_listed_and_nothing_more_is_enough(
    server: RedisServer, pods: BusPods, monkeypatch: pytest.MonkeyPatch
) -> None:
    await comes_and_goes(pods, server)
    monkeypatch.setattr(learn_redis, "seen", lambda _: Seen(is_cluster=False, is_sharded=False))
    await comes_and_goes(pods, server)
    assert server.ask("ACL", "LOG") == b"*0\r\n"
    on_one_server = used(server)
    monkeypatch.undo()
    with redis_cluster(1) as (node,):
        assert node.ask("ACL", "SETUSER", *USER[1:]) == b"+OK\r\n"
        async with bus_pods(node.url.replace("redis://", "redis://auricle:s3crt@")) as in_cluster:
            await comes_and_goes(in_cluster, node)
        assert node.ask("ACL", "LOG") == b"*0\r\n"
        asked = on_one_server.keys() | used(node).keys()
    assert {"spublish", "publish", "cluster|slots"} <= asked
    # The list is exactly what is used.
    ours = {name for name in asked if name == "cluster|slots" or name.partition("|")[0] not in ASKED_BY_OTHERS}
    assert ours - {"auth"} == set(COMMANDS)


def test_the_user_is_documented_as_it_is_tested() -> None:
    line = next(one for one in OPERATIONS.read_text().splitlines() if one.startswith("user auricle on"))
    assert line.split() == ["user", "auricle", "on", ">PASSWORD", *USER[4:]]


@pytest.mark.parametrize(
    ("change", "code"), [(("-info",), "NOPERM"), (("-ssubscribe",), "NOPERM"), (("resetchannels",), "NOPERM")]
)
async def test_what_the_user_may_not_do_is_told_and_tried_again_for_ever(
    server: RedisServer, pods: BusPods, change: tuple[str, ...], code: str
) -> None:
    server.ask("ACL", "SETUSER", "auricle", *change)
    one = await pods.join()
    await eventually(lambda: events(one, "backplane_away"))
    assert events(one, "backplane_away")[0]["cause"] == code
    server.ask("ACL", "SETUSER", *USER[1:])
    await eventually(lambda: one.is_up)


async def test_a_wrong_password_is_told_without_saying_it(server: RedisServer) -> None:
    async with bus_pods(server.url.replace("unix://", "unix://auricle:wr0ng@")) as pods:
        one = await pods.join()
        await eventually(lambda: events(one, "backplane_away"))
        assert events(one, "backplane_away")[0]["cause"] == "WRONGPASS"
        assert "wr0ng" not in one.log.getvalue()
        assert b"wr0ng" not in one.metrics.page()


class Eavesdropper:
    """Somebody with access to the server and without the key."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    def say(self, wire: bytes, *, channel: str = "auricle:c:c") -> None:
        packed = b"*3\r\n$8\r\nSPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (
            len(channel),
            channel.encode(),
            len(wire),
            wire,
        )
        self._server.ask_packed(packed)


async def test_what_is_of_no_pod_or_was_said_before_is_counted_and_not_heard(
    server: RedisServer, pods: BusPods, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await pods.connected(), await pods.connected()
    stranger = await pods.connected(key=b"another key" * 3)
    heard: list[bytes] = []
    two.backplane.subscribe("c", heard.append)
    two.backplane.subscribe("d", heard.append)
    await eventually(lambda: one.backplane.is_settled and two.backplane.is_settled)
    overheard: list[bytes] = []
    open_envelope = two.backplane._opener.open

    def listen_in(name: bytes, wire: bytes) -> bytes | Refused:
        # What pods have to tell each other in the beginning may still come.
        if name == b"auricle:c:c":
            overheard.append(wire)
        return open_envelope(name, wire)

    monkeypatch.setattr(two.backplane._opener, "open", listen_in)
    one.backplane.publish("c", lambda: b"x")
    await eventually(lambda: heard == [b"x"])
    somebody = Eavesdropper(server)
    somebody.say(overheard[0])
    somebody.say(overheard[0], channel="auricle:c:d")
    somebody.say(b"rubbish")
    stranger.backplane.publish("c", lambda: b"y")
    for reason, times in {"replayed": 1, "forged": 2, "version": 1}.items():
        await eventually(
            lambda reason=reason, times=times: two.metric("auricle_backplane_refused_total", reason=reason) >= times  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
        )
    assert heard == [b"x"]


async def test_who_is_not_understood_has_said_something_all_the_same(pods: BusPods, server: RedisServer) -> None:
    one = await pods.connected()
    one.backplane.subscribe("c", lambda _: None)
    await settled(one.backplane)
    before = len(one.missed)
    for number in range(100):
        server.ask("SPUBLISH", "auricle:c:c", f"another version {number}")
    # At once, and once more for all that came while that was looked into.
    await eventually(lambda: one.metric("auricle_backplane_refused_total", reason="version") == 100)
    await eventually(lambda: len(one.missed) == before + 2)


async def test_a_pod_whose_clock_is_far_off_is_not_believed(pods: BusPods) -> None:
    one = await pods.connected(clock=lambda: 1_000_000.0)
    two = await pods.connected(clock=lambda: 1_000_301.0)
    heard: list[bytes] = []
    two.backplane.subscribe("c", heard.append)
    await eventually(lambda: two.backplane.is_settled)
    missed = len(two.missed)
    one.backplane.publish("c", lambda: b"x")
    await eventually(lambda: two.metric("auricle_backplane_refused_total", reason="stale") >= 1)
    assert two.metric("auricle_bound_reached_total", bound="bus_skew_s") >= 1
    assert heard == []
    # What is stored can be found all the same.
    await eventually(lambda: len(two.missed) > missed)
    one.backplane.publish("c", lambda: b"y")
    await eventually(lambda: two.metric("auricle_backplane_refused_total", reason="stale") >= 2)
    assert len(events(two, "clocks_differ")) == 1


async def test_deployments_with_prefixes_of_their_own_share_a_server(tmp_path: Path) -> None:
    with redis_server() as server:
        async with bus_pods(server.url) as pods:
            one, two = await pods.connected(redis_prefix="east"), await pods.connected(redis_prefix="west")
            heard: list[bytes] = []
            two.backplane.subscribe("c", heard.append)
            again = await pods.connected(redis_prefix="east")
            await hears(one, again)
            assert heard == []


# Certificates


def certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.fromisoformat("2020-01-01T00:00:00+00:00")
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{host}.pem", folder / f"{host}.key"
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files[1].write_bytes(key.private_bytes(*private))
    return files


@asynccontextmanager
async def behind_tls(server: RedisServer, files: tuple[Path, Path]) -> AsyncIterator[str]:
    """The server behind TLS, as most managed ones are; gives its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    ends: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65_536):
                writer.write(chunk)
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(f"{server.folder}/s")
        ends.extend((writer, to_server))
        await asyncio.gather(pump(reader, to_server), pump(from_server, writer), return_exceptions=True)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for end in ends:
            end.close()
        await listener.wait_closed()


async def test_a_server_is_held_to_its_certificate(server: RedisServer, tmp_path: Path) -> None:
    good, other = certificate(tmp_path, "127.0.0.1"), certificate(tmp_path, "127.0.0.2")

    async def joins(address: str, ca_file: Path, is_right: Callable[[Pod], object]) -> None:
        async with bus_pods(f"rediss://auricle:s3crt@{address}") as pods:
            one = await pods.join(redis_ca_file=str(ca_file))
            await eventually(lambda: is_right(one))

    async with behind_tls(server, good) as address:
        await joins(address, good[0], lambda pod: pod.is_up)
        await joins(address, other[0], lambda pod: events(pod, "backplane_away"))
    async with behind_tls(server, other) as address:
        # Of a server that we trust, but not that one.
        await joins(address, other[0], lambda pod: events(pod, "backplane_away"))


async def test_certificates_that_are_not_there_keep_a_pod_from_starting(pods: BusPods, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="redis_ca_file"):
        await pods.join(redis_ca_file=str(tmp_path / "none.pem"))
