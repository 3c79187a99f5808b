"""The first message of each side."""

import pytest

from protocol.errors import RemoteProtocolError
from protocol.signalr.handshake import (
    HandshakeRequest,
    encode_request,
    encode_response,
    parse_request,
    parse_response,
    refusal,
)
from protocol.signalr.prescan import ScanLimits

LIMITS = ScanLimits()


def test_a_request_is_read_and_written() -> None:
    framed = b'{"protocol":"json","version":1}\x1e'
    assert encode_request(HandshakeRequest("json", 1)) == framed
    assert parse_request(framed[:-1], LIMITS) == HandshakeRequest("json", 1)


def test_a_request_may_hold_more_than_we_know_in_any_order() -> None:
    assert parse_request(b'{"x":[1],"version":2,"protocol":"p"}', LIMITS) == HandshakeRequest("p", 2)


def test_a_response_is_read_and_written() -> None:
    assert encode_response() == b"{}\x1e"
    assert encode_response('no "x"') == b'{"error":"no \\"x\\""}\x1e'
    assert parse_response(b"{}", LIMITS) is None
    assert parse_response(b'{"error":"no"}', LIMITS) == "no"
    assert parse_response(b'{"minorVersion":0}', LIMITS) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"protocol":"json"}',
        b'{"version":1}',
        b'{"protocol":1,"version":1}',
        b'{"protocol":"json","version":"1"}',
        b'{"protocol":"json","version":1.5}',
        b'{"protocol":"json","protocol":"messagepack","version":1}',
        b'{"type":6}',
        b"\xff",
        b"[" * 10_000,
    ],
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_request(body, LIMITS)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"error":1}', b'{"error":'])
def test_what_is_no_response_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_response(body, LIMITS)


@pytest.mark.parametrize("protocol", ["json", "messagepack"])
@pytest.mark.parametrize("version", [1, 2, 0, -1, -(2**31)])
def test_both_protocols_are_spoken_in_both_versions_and_lower_ones_are_taken_for_the_first(
    protocol: str, version: int
) -> None:
    assert refusal(HandshakeRequest(protocol, version), binary_ok=True) is None


@pytest.mark.parametrize(
    ("protocol", "version", "error"),
    [
        ("xml", 1, "The protocol 'xml' is not supported."),
        ("xml", 9, "The protocol 'xml' is not supported."),
        ("json", 2**31, "The server does not support version 2147483648 of the 'json' protocol."),
        ("messagepack", 3, "The server does not support version 3 of the 'messagepack' protocol."),
        (
            "messagepack",
            1,
            "Cannot use the 'messagepack' protocol on the current transport. "
            "The transport does not support 'Binary' transfer format.",
        ),
        ("json", 1, None),
    ],
)
def test_a_text_transport_refuses_in_the_words_that_clients_know(
    protocol: str, version: int, error: str | None
) -> None:
    assert refusal(HandshakeRequest(protocol, version), binary_ok=False) == error
