"""Pods that ask each other over TLS: who is answered, what certificates must say, and that they are renewed."""

import asyncio
import io
import json
import resource
import ssl
import time
from contextlib import suppress
from datetime import timedelta
from itertools import count
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization

from signaling.config import Config, ConfigError
from signaling.log import LogBook
from signaling.pods.internal_client import InternalClient, PodRefused, PodUnreached
from signaling.pods.tls import PodTls, TlsFiles
from tests.authority import Authority
from tests.eventually import eventually
from tests.signaling.by_hand import PATIENCE_S, Poller, call, poller
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.pods_around import around, forwarded
from tests.signaling.pods_inside import certificates, inside, internal_of, signer

LISTEN = "127.0.0.1:0"
NUMBERS = count()
EXPIRES = "auricle_internal_certificate_expires_timestamp_seconds"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def pod(open_house: OpenHouse, tmp_path: Path, authority: Authority) -> House:
    return await open_house(internal_listen=LISTEN, **certificates(tmp_path, authority=authority))


def shows(authority: Authority, stem: str, *hosts: str, name: str = "", ca: Path | None = None) -> PodTls:
    """What another pod would go by."""
    certificate, key = authority.certificate(stem, *hosts)
    files = TlsFiles(str(certificate), str(key), str(ca or authority.ca_file))
    return PodTls(files, name=name, log=LogBook(io.StringIO()), expires=lambda _: None, refused=lambda: None)


async def answers(pod: House, tls: PodTls | None, address: str = "") -> bool:
    """Whether who goes by that has an answer of a pod."""
    client = InternalClient(signer(pod, pod=f"test{next(NUMBERS)}"), timeout_s=5, tls=tls)
    try:
        return b"ready" in await client.fetch(address or internal_of(pod).address, "/readyz", timeout_s=5)
    except PodUnreached:
        return False
    finally:
        await client.close()


async def test_who_shows_a_certificate_of_the_same_authority_is_answered(pod: House, authority: Authority) -> None:
    assert internal_of(pod).address.startswith("https://127.0.0.1:")
    assert await answers(pod, shows(authority, "other", "elsewhere.example"))


async def test_who_shows_none_or_a_strangers_is_not(pod: House, authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    assert not await answers(pod, shows(stranger, "strange", "127.0.0.1", ca=authority.ca_file))
    anonymous = ssl.create_default_context(cafile=str(authority.ca_file))
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientError):
            await http.get(f"{internal_of(pod).address}/internal/readyz", ssl=anonymous)
        # Nor who does not even speak TLS.
        with pytest.raises(aiohttp.ClientError):
            await http.get(f"{internal_of(pod).address.replace('https', 'http')}/internal/readyz")
    assert "request_crashed" not in pod.log.getvalue()
    await eventually(lambda: pod.metric("auricle_internal_refused_total", reason="handshake") >= 3)


async def test_a_pod_that_shows_a_strangers_is_not_believed(pod: House, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    client = InternalClient(signer(pod), timeout_s=5, tls=shows(stranger, "strange", "127.0.0.1"))
    with pytest.raises(PodRefused):
        await client.fetch(internal_of(pod).address, "/readyz", timeout_s=5)
    await client.close()


@pytest.mark.parametrize(
    ("made_out_to", "name", "is_answered"),
    [
        (("127.0.0.1",), "", True),
        (("inside.auricle.example",), "", False),
        (("inside.auricle.example",), "inside.auricle.example", True),
        (("127.0.0.1",), "inside.auricle.example", False),
    ],
)
async def test_a_certificate_is_made_out_to_the_address_or_to_the_name_of_all_pods(
    open_house: OpenHouse, authority: Authority, made_out_to: tuple[str, ...], name: str, is_answered: bool
) -> None:
    certificate, key = authority.certificate("pod", *made_out_to)
    files = {"internal_cert_file": str(certificate), "internal_key_file": str(key)}
    pod = await open_house(internal_listen=LISTEN, internal_ca_file=str(authority.ca_file), **files)
    assert await answers(pod, shows(authority, "other", "x", name=name)) == is_answered


async def test_with_certificates_nobody_is_asked_in_the_clear_and_without_nobody_over_tls(
    pod: House, open_house: OpenHouse, authority: Authority
) -> None:
    plain = await open_house(internal_listen=LISTEN)
    assert await answers(plain, None)
    assert not await answers(pod, None)
    asked = plain.metric("auricle_internal_refused_total", reason="forged")
    tls = shows(authority, "other", "127.0.0.1")
    assert not await answers(plain, tls)
    # Nothing of it was said to whoever listens there.
    assert plain.metric("auricle_internal_refused_total", reason="forged") == asked


async def test_a_socket_of_this_machine_needs_none(pod: House, open_house: OpenHouse, tmp_path: Path) -> None:
    await open_house(internal_listen=f"unix:{tmp_path}/i")
    async with inside(pod) as client:
        assert await client.fetch(f"unix:{tmp_path}/i", "/readyz", timeout_s=5)


async def test_who_says_no_more_than_hello_is_given_up(
    open_house: OpenHouse, tmp_path: Path, authority: Authority
) -> None:
    files = certificates(tmp_path, authority=authority)
    pod = await open_house(internal_listen=LISTEN, request_timeout_s=0.2, **files)
    port = int(internal_of(pod).address.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()


async def test_a_renewed_certificate_is_shown_and_a_new_authority_believed(
    tmp_path: Path, authority: Authority
) -> None:
    names = certificates(tmp_path, authority=authority)
    async with around(**names) as scene:
        client = await poller(scene.east)
        await carried(scene.west, client, 1)
        before_s = scene.east.metric(EXPIRES)
        assert before_s == pytest.approx(time.time() + timedelta(days=30).total_seconds(), abs=3_600)
        # Everything anew: the pods, and by whom they are signed.
        later = Authority(tmp_path, "later")
        renew(later, names)
        for house in scene.pods:
            house.sweep()
            assert house.metric(EXPIRES) > before_s + timedelta(days=29).total_seconds()
            assert house.log.getvalue().count("internal_certificate_renewed") == 1
        # Whoever is new believes the new one alone.
        assert await answers(scene.east, shows(later, "other", "127.0.0.1"))
        await carried(scene.west, client, 2)


async def test_an_authority_that_is_dropped_is_believed_no_more(
    pod: House, tmp_path: Path, authority: Authority
) -> None:
    later = Authority(tmp_path, "later")
    both = authority.ca_file.read_bytes() + later.ca_file.read_bytes()
    earlier, other = shows(authority, "earlier", "x"), shows(later, "other", "x", ca=authority.ca_file)
    authority.ca_file.write_bytes(both)
    pod.sweep()
    assert await answers(pod, earlier)
    assert await answers(pod, other)
    authority.ca_file.write_bytes(later.ca_file.read_bytes())
    pod.sweep()
    assert not await answers(pod, earlier)
    assert await answers(pod, other)


async def test_what_could_not_be_read_for_want_of_descriptors_is_read_later(
    pod: House, tmp_path: Path, authority: Authority
) -> None:
    before_s = pod.metric(EXPIRES)
    authority.certificate("pod", "127.0.0.1", good_for=timedelta(days=60))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, most[1]))
    try:
        pod.sweep()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    assert pod.log.getvalue().count("internal_certificate_unusable") == 1
    pod.sweep()
    assert pod.metric(EXPIRES) > before_s + timedelta(days=29).total_seconds()


def renew(authority: Authority, names: dict[str, str]) -> None:
    authority.certificate("pod", "127.0.0.1", good_for=timedelta(days=60))
    Path(names["internal_ca_file"]).write_bytes(authority.ca_file.read_bytes())


async def carried(house: House, client: Poller, number: int) -> None:
    """A call that a pod hands on."""
    before = forwarded(house, "post")
    home, client.house = client.house, house
    await client.send(call("Echo", number, id_=str(number)))
    client.house = home
    assert (await client.messages(1))[0]["result"] == number
    assert forwarded(house, "post") == before + 1


@pytest.mark.parametrize("broken", ["key of another", "no certificate", "gone"])
async def test_what_cannot_be_used_is_told_once_and_what_was_read_before_goes_on(
    pod: House, tmp_path: Path, authority: Authority, broken: str
) -> None:
    certificate, key = tmp_path / "pod.pem", tmp_path / "pod.key"
    good = certificate.read_bytes(), key.read_bytes()
    if broken == "key of another":
        authority.certificate("pod", "127.0.0.1")
        key.write_bytes(good[1])
    elif broken == "no certificate":
        certificate.write_text("nothing of the kind")
    else:
        certificate.unlink()
    for _ in range(3):
        pod.sweep()
    told = [json.loads(line) for line in pod.log.getvalue().splitlines() if "internal_certificate" in line]
    assert [one["event"] for one in told] == ["internal_certificate_unusable"]
    causes = {"key values mismatch", "what is in it cannot be read", "No such file or directory"}
    assert told[0]["cause"] in causes
    assert await answers(pod, shows(authority, "other", "127.0.0.1"))
    certificate.write_bytes(good[0])
    pod.sweep()
    assert "internal_certificate_renewed" in pod.log.getvalue()


FILES = {"internal_cert_file": "c", "internal_key_file": "k", "internal_ca_file": "a"}


@pytest.mark.parametrize(
    "given",
    [
        {"internal_listen": LISTEN, "internal_cert_file": "c"},
        {"internal_listen": LISTEN, "internal_cert_file": "c", "internal_key_file": "k"},
        {"internal_listen": LISTEN, "internal_ca_file": "a"},
        {"internal_listen": LISTEN, "internal_cert_name": "n"},
        FILES,
        {"internal_listen": "unix:/run/i", **FILES},
        {"internal_listen": LISTEN, "internal_address": "http://10.0.0.7:8081", **FILES},
    ],
    ids=str,
)
def test_half_of_it_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="internal_"):
        Config(**given)  # type: ignore[arg-type]  # a test's own words


def test_and_the_whole_is_not() -> None:
    given = {"internal_listen": LISTEN, "internal_address": "https://10.0.0.7:8081", "internal_cert_name": "n", **FILES}
    Config(**given)  # type: ignore[arg-type]  # a test's own words


@pytest.mark.parametrize(
    ("field", "holds", "told"),
    [
        ("internal_key_file", None, "internal_key_file: there is no such file"),
        ("internal_ca_file", None, "internal_ca_file: there is no such file"),
        ("internal_cert_file", "nothing", "internal_cert_file: "),
        ("internal_ca_file", "nothing", "internal_cert_file: "),
        ("internal_key_file", "encrypted", "internal_cert_file: "),
    ],
)
async def test_a_server_does_not_begin_with_what_it_cannot_use(
    open_house: OpenHouse, tmp_path: Path, field: str, holds: str | None, told: str
) -> None:
    files = certificates(tmp_path)
    spoil(Path(files[field]), holds)
    with pytest.raises(ConfigError, match=f"^{told}"):
        await open_house(internal_listen=LISTEN, **files)


def spoil(path: Path, holds: str | None) -> None:
    if holds is None:
        path.unlink()
    else:
        path.write_bytes(behind_a_password(path) if holds == "encrypted" else holds.encode())


def behind_a_password(key: Path) -> bytes:
    """Nobody is to be asked for it."""
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    plain = serialization.load_pem_private_key(key.read_bytes(), None)
    return plain.private_bytes(pem, form, serialization.BestAvailableEncryption(b"secret"))
