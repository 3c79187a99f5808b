"""Which requests may become a WebSocket."""

import pytest
from aiohttp import HttpVersion
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from protocol.websocket.upgrade import UpgradeRefused, accept_key, accept_upgrade

GOOD = [
    ("Host", "server.example.com"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
]
Fields = list[tuple[str, str]]


def without(name: str) -> Fields:
    return [field for field in GOOD if field[0] != name]


def with_value(name: str, *values: str) -> Fields:
    return without(name) + [(name, value) for value in values]


def answer(fields: Fields, method: str = "GET", version: tuple[int, int] = (1, 1)) -> bytes | UpgradeRefused:
    return accept_upgrade(method, version, CIMultiDict(fields))


def test_the_example_of_the_rfc_is_accepted_with_the_key_that_it_names() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert answer(GOOD) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )


ACCEPTED = {
    "as Firefox writes it": with_value("Connection", "keep-alive, Upgrade"),
    "other letters": [(name.upper(), value) for name, value in with_value("Upgrade", "WebSocket")],
    "tokens over several fields": with_value("Connection", "keep-alive", "upgrade"),
    "a choice of protocols": with_value("Upgrade", "h2c,\twebsocket"),
    "a body of no bytes": [*GOOD, ("Content-Length", "0")],
}


@pytest.mark.parametrize("fields", ACCEPTED.values(), ids=ACCEPTED)
def test_every_correct_way_to_ask_is_accepted(fields: Fields) -> None:
    assert answer(fields) == answer(GOOD)


def test_nothing_that_is_offered_is_negotiated() -> None:
    offers = [("Sec-WebSocket-Extensions", "permessage-deflate"), ("Sec-WebSocket-Protocol", "chat, superchat")]
    assert answer([*GOOD, *offers]) == answer(GOOD)


def test_the_headers_and_version_of_an_aiohttp_request_are_taken_as_they_are() -> None:
    headers = CIMultiDictProxy(CIMultiDict(GOOD))
    assert accept_upgrade("GET", HttpVersion(1, 1), headers) == answer(GOOD)


REFUSED = {
    "no host": without("Host"),
    "empty host": with_value("Host", ""),
    "two hosts": with_value("Host", "a", "b"),
    "the same host twice": with_value("Host", "a", "a"),
    "no Upgrade": without("Upgrade"),
    "other protocol": with_value("Upgrade", "h2c"),
    "almost the protocol": with_value("Upgrade", "websockets"),
    "no Connection": without("Connection"),
    "no upgrade in Connection": with_value("Connection", "keep-alive"),
    "almost upgrade in Connection": with_value("Connection", "upgrade-insecure"),
    "a body": [*GOOD, ("Content-Length", "5")],
    "two lengths": [*GOOD, ("Content-Length", "0"), ("Content-Length", "0")],
    "a list of lengths": [*GOOD, ("Content-Length", "0, 0")],
    "a length that is none": [*GOOD, ("Content-Length", "+0")],
    "an empty length": [*GOOD, ("Content-Length", "")],
    "a chunked body": [*GOOD, ("Transfer-Encoding", "chunked")],
    "an empty transfer encoding": [*GOOD, ("Transfer-Encoding", "")],
    "no key": without("Sec-WebSocket-Key"),
    "empty key": with_value("Sec-WebSocket-Key", ""),
    "two keys": with_value("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="),
    "key of 15 bytes": with_value("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAA"),
    "key of 17 bytes": with_value("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAAA="),
    "key without padding": with_value("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ"),
    "key with a foreign letter": with_value("Sec-WebSocket-Key", "dGhlIHNhb.XBsZSBub25jZQ=="),
    "key in the alphabet of URLs": with_value("Sec-WebSocket-Key", "-_hlIHNhbXBsZSBub25jZQ=="),
    "key that is not ASCII": with_value("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jé==\udcff"),
}


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED)
def test_a_faulty_request_is_a_bad_one(fields: Fields) -> None:
    refused = answer(fields)
    assert isinstance(refused, UpgradeRefused)
    assert (refused.status, refused.headers) == (400, (("Connection", "close"),))


@pytest.mark.parametrize(
    ("method", "version"),
    [("get", (1, 1)), ("POST", (1, 1)), ("HEAD", (1, 1)), ("CONNECT", (1, 1)), ("GET", (1, 0)), ("GET", (2, 0))],
)
def test_only_a_get_of_http_1_1_can_be_upgraded(method: str, version: tuple[int, int]) -> None:
    refused = answer(GOOD, method, version)
    assert isinstance(refused, UpgradeRefused)
    assert refused.status == 400


@pytest.mark.parametrize(
    "fields",
    [
        without("Sec-WebSocket-Version"),
        *(with_value("Sec-WebSocket-Version", value) for value in ("12", "8", "0", "", "013", "13, 8", "x" * 9_000)),
        with_value("Sec-WebSocket-Version", "13", "13"),
    ],
)
def test_another_version_is_told_which_one_is_spoken(fields: Fields) -> None:
    refused = answer(fields)
    assert isinstance(refused, UpgradeRefused)
    assert refused.status == 426
    assert ("Sec-WebSocket-Version", "13") in refused.headers


fields_of_anything = st.lists(
    st.tuples(st.sampled_from([name for name, _ in GOOD] + ["Content-Length"]), st.text(max_size=30)), max_size=3
)


@given(extra=fields_of_anything, kept=st.sets(st.sampled_from(GOOD)))
def test_any_fields_give_an_answer_that_quotes_none_of_them(extra: Fields, kept: set[tuple[str, str]]) -> None:
    given_answer = answer([*kept, *extra])
    constants = {answer(GOOD), *(answer(fields) for fields in REFUSED.values()), answer(without("Connection"))}
    constants.add(answer(without("Sec-WebSocket-Version")))
    if isinstance(given_answer, bytes):
        assert given_answer.startswith(b"HTTP/1.1 101 ")
        assert given_answer.count(b"\r\n") == 5
    else:
        assert given_answer in constants
