"""A pod whose certificate no pod like it would believe says so, and goes on."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.authority import Authority
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.pods_inside import inside, internal_of

LISTEN = "127.0.0.1:0"
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


def doubts(pod: House) -> list[str]:
    lines = map(json.loads, pod.log.getvalue().splitlines())
    return [line["cause"] for line in lines if line["event"] == "internal_certificate_doubtful"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def opened(open_house: OpenHouse, authority: Authority, shown: tuple[Path, Path], name: str = "") -> House:
    certificate, key = map(str, shown)
    return await open_house(
        internal_listen=LISTEN,
        internal_cert_file=certificate,
        internal_key_file=key,
        internal_ca_file=str(authority.ca_file),
        internal_cert_name=name,
    )


async def test_one_that_all_believe_is_not_spoken_of(open_house: OpenHouse, authority: Authority) -> None:
    by_address = await opened(open_house, authority, authority.certificate("a", "127.0.0.1"))
    by_name = await opened(open_house, authority, authority.certificate("b", "pods.example"), name="pods.example")
    both = authority.certificate("c", "127.0.0.1", purposes=(SERVER, CLIENT))
    for_both = await opened(open_house, authority, both)
    assert [doubts(pod) for pod in (by_address, by_name, for_both)] == [[], [], []]


async def test_what_is_wrong_with_it_is_said_and_it_is_shown_all_the_same(
    open_house: OpenHouse, authority: Authority, tmp_path: Path
) -> None:
    over = await opened(open_house, authority, authority.certificate("a", "127.0.0.1", good_for=timedelta(days=-1)))
    assert doubts(over) == ["certificate has expired"]
    elsewhere = await opened(open_house, authority, authority.certificate("b", "10.0.0.7"))
    assert doubts(elsewhere) == ["IP address mismatch, certificate is not valid for '127.0.0.1'."]
    other_name = await opened(open_house, authority, authority.certificate("c", "127.0.0.1"), name="pods.example")
    assert doubts(other_name) == ["Hostname mismatch, certificate is not valid for 'pods.example'."]
    strange = await opened(open_house, authority, Authority(tmp_path, "stranger").certificate("d", "127.0.0.1"))
    assert doubts(strange) == ["unable to get local issuer certificate"]
    # Those who ask with it are refused by whom they ask, and the other way round.
    for number, purpose in enumerate((SERVER, CLIENT)):
        shown = authority.certificate(f"e{number}", "127.0.0.1", purposes=(purpose,))
        assert doubts(await opened(open_house, authority, shown)) == ["unsuitable certificate purpose"]
    async with inside(elsewhere) as client:
        assert b"ready" in await client.fetch(internal_of(other_name).address, "/readyz", timeout_s=5)


async def test_a_renewed_one_is_looked_at_as_well(open_house: OpenHouse, authority: Authority) -> None:
    pod = await opened(open_house, authority, authority.certificate("pod", "127.0.0.1"))
    authority.certificate("pod", "127.0.0.1", purposes=(SERVER,))
    for _ in range(2):
        pod.sweep()
    assert doubts(pod) == ["unsuitable certificate purpose"]
    authority.certificate("pod", "127.0.0.1")
    pod.sweep()
    assert doubts(pod) == ["unsuitable certificate purpose"]
