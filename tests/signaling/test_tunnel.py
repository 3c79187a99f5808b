"""A tunnel between two ends: everything goes through in order, what waits is bounded, and both end together."""

import asyncio
import io
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from signaling.log import LogBook
from signaling.pods.tls import PodTls, TlsFiles
from signaling.transports.tunnel import Tunnel, TunnelLimits
from tests.authority import Authority
from tests.eventually import eventually


class Pipe(asyncio.Protocol):
    """The far end of a tunnel's end; it reads when it is told to."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.lost = asyncio.Event()
        self.may_write = asyncio.Event()
        self.may_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data

    def pause_writing(self) -> None:
        self.may_write.clear()

    def resume_writing(self) -> None:
        self.may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


@dataclass
class Bored:
    """A tunnel between two pairs of sockets, and what it told."""

    bounds: list[str]
    ended: list[None]
    tunnel: Tunnel
    client: Pipe
    owner: Pipe

    def reached(self, bound: str) -> bool:
        """Whether a bound was."""
        return bound in self.bounds


@pytest.fixture(params=["clear", "tls"])
async def bored(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bored]:
    """Its owner's end is in the clear, or over TLS."""
    loop, bounds, ended = asyncio.get_running_loop(), list[str](), list[None]()
    limits = TunnelLimits(max_bytes=8_192, stuck_s=90, close_timeout_s=5, reached=bounds.append)
    tunnel = Tunnel(limits, lambda: ended.append(None))
    ends, pipes = [], []
    for end in (tunnel.client, tunnel.owner):
        near, far = socket.socketpair()
        for one in (near, far):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
            one.setblocking(False)
        is_over_tls = request.param == "tls" and end is tunnel.owner
        ours, theirs = contexts(tmp_path) if is_over_tls else (None, None)
        near_by = loop.create_connection(
            lambda end=end: end,
            sock=near,
            ssl=ours,
            server_hostname="localhost" if is_over_tls else None,
        )
        (transport, _), (_, pipe) = await asyncio.gather(
            near_by, loop.connect_accepted_socket(Pipe, sock=far, ssl=theirs)
        )
        ends.append(transport)
        pipes.append(pipe)
    tunnel.join((ends[0], b"early of the client "), (ends[1], b"early of the owner "))
    yield Bored(bounds, ended, tunnel, *pipes)
    for pipe in pipes:
        pipe.transport.abort()
    await eventually(lambda: ended)


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of the one that asks and the one that is asked."""
    authority = Authority(folder)
    certificate, key = map(str, authority.certificate("pod", "localhost"))
    files = TlsFiles(certificate, key, str(authority.ca_file))
    tls = PodTls(files, name="localhost", log=LogBook(io.StringIO()), expires=lambda _: None, refused=lambda: None)
    return tls.client, tls.server


@pytest.mark.parametrize("slow", ["client", "owner"])
async def test_a_tunnel_holds_no_more_than_its_bound(bored: Bored, slow: str) -> None:
    reader, writer = (bored.client, bored.owner) if slow == "client" else (bored.owner, bored.client)
    end = bored.tunnel.client if slow == "client" else bored.tunnel.owner
    assert end._transport is not None
    reader.transport.pause_reading()
    sent = most = 0
    # Until it does not take any more, for as long as anything could still be on its way.
    while writer.may_write.is_set() or await moves(end._transport, writer.transport):
        if writer.may_write.is_set():
            writer.transport.write(b"x" * 10_000)
            sent += 10_000
        await asyncio.sleep(0)
        most = max(most, end._transport.get_write_buffer_size())
        assert sent < 2**24
    assert bored.reached("max_forward_bytes")
    # What asyncio reads at a time comes on top.
    assert 8_192 < most <= 8_192 + 262_144
    # Nothing of it is lost, and nothing is in the wrong place.
    reader.transport.resume_reading()
    await eventually(lambda: len(reader.got) >= sent)
    early = b"early of the owner " if slow == "client" else b"early of the client "
    assert bytes(reader.got) == early + b"x" * sent


async def moves(*transports: asyncio.Transport) -> bool:
    before = [transport.get_write_buffer_size() for transport in transports]
    for _ in range(50):
        await asyncio.sleep(0)
    return [transport.get_write_buffer_size() for transport in transports] != before


@pytest.mark.parametrize("first", ["client", "owner"])
async def test_the_end_of_one_side_is_that_of_the_other_behind_all_that_was_said(bored: Bored, first: str) -> None:
    leaving, staying = (bored.client, bored.owner) if first == "client" else (bored.owner, bored.client)
    leaving.transport.write(b"last words")
    leaving.transport.close()
    await asyncio.wait_for(staying.lost.wait(), 30)
    assert bytes(staying.got).endswith(b"last words")
    await eventually(lambda: len(bored.ended) == 1)


async def test_last_words_that_nobody_takes_are_dropped_after_a_while(bored: Bored) -> None:
    bored.client.transport.pause_reading()
    end = bored.tunnel.client._transport
    assert end is not None
    while end.get_write_buffer_size() < 1_000:
        bored.owner.transport.write(b"x" * 500)
        await asyncio.sleep(0)
    assert not bored.reached("max_forward_bytes")
    bored.owner.transport.close()
    await eventually(lambda: bored.tunnel._is_closing)
    for now_s in (100.0, 104.9):
        bored.tunnel.tick(now_s)
    assert bored.bounds == []
    bored.tunnel.tick(105.0)
    assert bored.bounds == ["close_timeout_s"]
    await eventually(lambda: len(bored.ended) == 1)


async def test_who_takes_nothing_does_not_hide_that_the_other_has_gone(bored: Bored) -> None:
    bored.client.transport.pause_reading()
    bored.owner.transport.write(b"x" * 1_000_000)
    await eventually(lambda: bored.reached("max_forward_bytes"))
    bored.owner.transport.abort()
    for now_s in (100.0, 189.9):
        bored.tunnel.tick(now_s)
    assert not bored.reached("forward_timeout_s")
    bored.tunnel.tick(190.0)
    assert bored.bounds[-1] == "forward_timeout_s"
    await eventually(lambda: len(bored.ended) == 1)


async def test_who_takes_something_is_given_the_time(bored: Bored) -> None:
    bored.client.transport.pause_reading()
    bored.owner.transport.write(b"x" * 1_000_000)
    await eventually(lambda: bored.reached("max_forward_bytes"))
    bored.tunnel.tick(100.0)
    bored.client.transport.resume_reading()
    await eventually(lambda: len(bored.client.got) > 1_000_000 and not bored.tunnel.client.is_full)
    for now_s in (150.0, 239.9):
        bored.tunnel.tick(now_s)
    assert not bored.reached("forward_timeout_s")
    assert bored.ended == []
