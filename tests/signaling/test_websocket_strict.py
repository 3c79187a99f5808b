"""What no WebSocket client sends, over real sockets: each case has its reaction, and nobody else notices."""

import asyncio
import contextlib
import gc
import zlib
from collections.abc import Iterator

import pytest

from tests.eventually import eventually
from tests.memory import resident_bytes
from tests.protocol.websocket.client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    MASK,
    PING,
    PONG,
    TEXT,
    close,
    frame,
    header,
    masked,
    message,
)
from tests.signaling.by_hand import HELLO, HUB, call, socket
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.raw_websocket import KEY, dial, open_wire, upgrade

CANARY = b"canary-7d1f"
MAX_FRAME_BYTES = 100_000
EMPTY = 1_000

FRAMES: dict[str, tuple[bytes, int]] = {
    "an unmasked text": (b"\x81\x05Hello", 1002),
    "an unmasked empty text": (b"\x81\x00", 1002),
    "an unmasked ping": (b"\x89\x00", 1002),
    "an unmasked close": (b"\x88\x02\x03\xe8", 1002),
    **{f"RSV{4 - bit.bit_length()}": (frame(TEXT, b"x", reserved=bit), 1002) for bit in (4, 2, 1)},
    **{f"opcode {opcode}": (frame(opcode, b"x"), 1002) for opcode in (*range(3, 8), *range(11, 16))},
    "a fragmented ping": (frame(PING, b"x", fin=False), 1002),
    "a fragmented close": (frame(CLOSE, b"\x03\xe8", fin=False), 1002),
    "a ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "a close of 126 bytes": (close(1000, b"x" * 124), 1002),
    "a continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "a last continuation of nothing": (frame(CONTINUATION, b"x", fin=False), 1002),
    "a message inside a message": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    "bad UTF-8": (frame(TEXT, b"\xff"), 1007),
    "bad UTF-8 over two fragments": (message(TEXT, b"\xed\xa0", b"\x80"), 1007),
    "bad UTF-8 over three fragments with a ping between": (
        frame(TEXT, b"\xf4", fin=False) + frame(PING) + frame(CONTINUATION, b"\x90", fin=False),
        1007,
    ),
    "a character that is never finished": (message(TEXT, b"\xe2\x82", b""), 1007),
    **{f"close code {code}": (close(code), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535)},
    "a close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "a reason that is not UTF-8": (close(1000, b"\xff"), 1007),
    "data behind a close": (close(1000) + frame(TEXT, HELLO) + frame(PING, b"x"), 1000),
    "rubbish behind a close": (close(3001) + b"\xff" * 1_000, 3001),
    "a close without a code": (frame(CLOSE), 1000),
    "a length of 2^63-1": (header(FIN | BINARY, 2**63 - 1, 8) + MASK, 1009),
    "a length of 2^63": (header(FIN | BINARY, 2**63, 8) + MASK, 1002),
    "a length in more bytes than it needs": (header(FIN | TEXT, 5, 2) + MASK + masked(b"Hello"), 1002),
    "a frame over the bound, from its header": (header(FIN | TEXT, MAX_FRAME_BYTES + 1) + MASK, 1009),
    "a frame over the bound, whole": (frame(BINARY, b"x" * (MAX_FRAME_BYTES + 1)), 1009),
    "a fragment over the bound": (
        frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"x" * (MAX_FRAME_BYTES + 1), fin=False),
        1009,
    ),
    "empty fragments": (frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * EMPTY, 1008),
    "empty messages": (frame(TEXT) * (EMPTY + 1), 1008),
    "empty fragments between pings": (
        frame(TEXT, fin=False) + (frame(CONTINUATION, fin=False) + frame(PING)) * EMPTY,
        1008,
    ),
}


@pytest.fixture
async def strict_house(open_house: OpenHouse) -> House:
    # There is no door here that lets in as few as leave: they leave as fast as they can.
    return await open_house(max_frame_bytes=MAX_FRAME_BYTES, max_accepts=1_000)


async def reaction(house: House, data: bytes) -> int:
    """The code of the close that such bytes behind the upgrade bring about, and the end of the connection."""
    wire = await open_wire(house)
    wire.send(data)
    code = await wire.close_code()
    with contextlib.suppress(ConnectionResetError):
        # What we sent behind its end may make the kernel forget the rest.
        assert await wire.ended() == b""
    wire.drop()
    return code


@pytest.mark.parametrize("name", FRAMES)
async def test_a_frame_has_its_reaction_and_others_go_on(strict_house: House, name: str) -> None:
    data, code = FRAMES[name]
    bystander = await socket(strict_house)
    assert await reaction(strict_house, data) == code
    await bystander.send(call("Echo", name, id_="1"))
    assert (await bystander.messages(1))[0]["result"] == name
    await eventually(lambda: strict_house.app_sessions() == 1)
    assert "crashed" not in strict_house.log.getvalue()
    assert "failed" not in strict_house.log.getvalue()


@pytest.mark.parametrize("name", ["an unmasked text", "bad UTF-8", "close code 1006", "a length of 2^63-1"])
async def test_a_violation_behind_the_handshake_has_the_same_reaction(strict_house: House, name: str) -> None:
    data, code = FRAMES[name]
    wire = await open_wire(strict_house)
    wire.send(frame(TEXT, HELLO + call("Echo", "last", id_="1")) + data + frame(TEXT, call("Echo", "late", id_="2")))
    found = b""
    while (received := await wire.frame())[0] != CLOSE:
        found += received[1]
    assert int.from_bytes(received[1][:2], "big") == code
    assert b"last" in found
    assert b"late" not in found


async def test_what_is_allowed_goes_through(strict_house: House) -> None:
    wire = await open_wire(strict_house)
    wire.send(frame(TEXT, HELLO))
    assert await wire.frame() == (TEXT, b"{}\x1e")
    echo = call("Echo", "µ👂", id_="1")
    wire.send(frame(PING, b"a" * 125) + frame(PONG, b"unasked") + frame(TEXT, b"", fin=False))
    for index in range(len(echo)):
        wire.send(frame(CONTINUATION, echo[index : index + 1], fin=False) + frame(PING, b"between"))
    wire.send(frame(CONTINUATION))
    opcodes = [(await wire.frame())[0] for _ in range(len(echo) + 2)]
    assert opcodes.count(PONG) == len(echo) + 1
    assert opcodes.count(TEXT) == 1
    # Frames of either kind are bytes of one stream.
    wire.send(frame(BINARY, echo[:9]) + frame(TEXT, echo[9:]))
    assert (await wire.frame())[0] == TEXT
    wire.send(close(1000))
    assert await wire.close_code() == 1000


OFFERS = [
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; server_max_window_bits=8; client_max_window_bits=15",
    "permessage-deflate; server_max_window_bits=15, permessage-deflate; server_max_window_bits=8",
    "x-webkit-deflate-frame",
]


@pytest.mark.parametrize("offer", OFFERS)
async def test_compression_is_never_agreed_on_and_a_compressed_frame_is_a_violation(
    strict_house: House, offer: str
) -> None:
    wire = await dial(strict_house)
    wire.send(
        upgrade(strict_house).replace(b"Host: here", b"Host: here\r\nSec-WebSocket-Extensions: " + offer.encode())
    )
    head = await wire.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"extensions" not in head.lower()
    # 20 kB that would be 20 MB.
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = bomb.compress(bytes(20_000_000)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    before = resident_bytes()
    wire.send(frame(TEXT, packed, reserved=4))
    assert await wire.close_code() == 1002
    assert resident_bytes() - before < 5 * 2**20


async def test_a_client_that_pings_and_does_not_read_costs_a_bounded_amount(strict_house: House) -> None:
    wire = await open_wire(strict_house, narrow=True)
    (session,) = strict_house.parts.hubs[1].sessions.values()
    pings, most, rounds_left = frame(PING, b"x" * 125) * 500, 0, 1_000
    while rounds_left:
        wire.send(pings)
        await wire.writer.drain()
        await asyncio.sleep(0)  # the server reads
        waiting_bytes = session.transport.waiting_bytes
        if waiting_bytes and not most:
            # The kernel takes no more.
            rounds_left = 20
        rounds_left -= 1
        most = max(most, waiting_bytes)
    assert 0 < most <= 65_536 + 127
    bystander = await socket(strict_house)
    await bystander.send(call("Echo", 1, id_="1"))
    assert (await bystander.messages(1))[0]["result"] == 1


def upgrades(house: House) -> Iterator[tuple[str, bytes, int]]:
    """Requests that must not become a WebSocket, and the status of their answer."""
    good = upgrade(house, HUB)
    key = f"Sec-WebSocket-Key: {KEY}\r\n".encode()

    def changed(old: bytes, new: bytes) -> bytes:
        assert old in good
        return good.replace(old, new)

    yield "a body", changed(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello"), 400
    yield "a chunked body", changed(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), 400
    yield "two keys", changed(key, key * 2), 400
    yield "no key", changed(key, b""), 400
    yield "a short key", changed(KEY.encode(), b"c2hvcnQ="), 400
    yield "a key that is none", changed(KEY.encode(), CANARY), 400
    yield "version 12", changed(b"Version: 13", b"Version: 12"), 426
    yield "no version", changed(b"Sec-WebSocket-Version: 13\r\n", b""), 426
    yield "two versions", changed(b"Version: 13", b"Version: 13\r\nSec-WebSocket-Version: 8"), 426
    yield "HTTP/1.0", changed(b"HTTP/1.1", b"HTTP/1.0"), 400
    yield "HTTP/2.0", changed(b"HTTP/1.1", b"HTTP/2.0"), 400
    yield "a lower-case method", changed(b"GET ", b"get "), 400
    yield "two hosts", changed(b"Host: here\r\n", b"Host: here\r\nHost: " + CANARY + b"\r\n"), 400
    yield "no host", changed(b"Host: here\r\n", b""), 400
    yield "an upgrade to something else", changed(b"Upgrade: websocket", b"Upgrade: " + CANARY), 400
    yield "a space before the colon", changed(b"Host:", b"Host :"), 400
    yield "a header with a NUL", changed(b"Host: here", b"Host: he\0re" + CANARY), 400
    yield "a folded header", changed(b"Host: here\r\n", b"Host: here\r\n " + CANARY + b"\r\n"), 400
    yield "an origin of somewhere else", changed(b"Host: here", b"Host: here\r\nOrigin: https://evil.example"), 403
    yield "a method of its own", changed(b"GET ", b"BREW "), 400
    yield "a header of 64 KiB", changed(b"Host: here", b"Host: here\r\nX-Big: " + b"x" * 65_536), 400
    yield (
        "2,000 headers",
        changed(b"Host: here", b"Host: here" + b"".join(b"\r\nX-%d: y" % n for n in range(2_000))),
        400,
    )
    yield "no HTTP at all", b"\x16\x03\x01" + CANARY + b"\r\n\r\n", 400


async def answered(house: House, request: bytes) -> bytes:
    """Everything that is answered; the server must be the one that ends."""
    wire = await dial(house)
    wire.send(request)
    found = b""
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(5):
            while data := await wire.reader.read(65_536):
                found += data
    wire.drop()
    return found


async def test_requests_that_must_not_be_upgraded_are_refused_and_closed(
    strict_house: House, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = {}
    for name, request, status in upgrades(strict_house):
        try:
            found = await answered(strict_house, request)
        except TimeoutError:
            wrong[name] = "stays open"
            continue
        if found.split(b" ")[1:2] != [str(status).encode()]:
            wrong[name] = found[:60].decode(errors="replace")
        elif CANARY in found:
            wrong[name] = "echoed"
        elif status == 426 and b"Sec-WebSocket-Version: 13" not in found:
            wrong[name] = "no version"
    assert wrong == {}
    assert strict_house.app_sessions() == 0
    bystander = await socket(strict_house)
    await bystander.send(call("Echo", 1, id_="1"))
    assert (await bystander.messages(1))[0]["result"] == 1
    assert "crashed" not in strict_house.log.getvalue()
    # Whatever was wrong with it may have been a token.
    assert caplog.records == []


async def test_nothing_may_follow_a_refused_upgrade_on_the_same_connection(strict_house: House) -> None:
    good = upgrade(strict_house, HUB)
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"
    for refused in (
        good.replace(b"Version: 13", b"Version: 12"),
        good.replace(b"Bearer ", b"Bearer x"),
        good.replace(HUB.encode(), HUB.encode() + b"?id=nobody"),
        good.replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % len(smuggled)),
    ):
        found = await answered(strict_house, refused + smuggled)
        assert found.count(b"HTTP/1.1 ") == 1, found


async def test_a_connection_that_does_not_ask_is_closed_and_one_that_has_asked_is_kept(open_house: OpenHouse) -> None:
    house = await open_house(request_timeout_s=0.2)
    silent, slow, asked = [await dial(house) for _ in range(3)]
    slow.send(b"GET /healthz HTTP/1.1\r\nHost: he")
    asked.send(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
    assert await silent.ended() == b""
    assert await slow.ended() == b""
    asked.send(b"GET /readyz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    assert (await asked.ended()).count(b"HTTP/1.1 200 OK") == 2


async def test_two_hundred_rounds_of_abuse_leave_the_memory_flat(strict_house: House) -> None:
    names = ["an unmasked text", "bad UTF-8 over two fragments", "a length of 2^63-1", "a frame over the bound, whole"]
    # Nearly a whole frame, and then nobody.
    unfinished = frame(BINARY, b"x" * MAX_FRAME_BYTES)[:-1]

    async def abuse() -> None:
        for name in names:
            data, code = FRAMES[name]
            assert await reaction(strict_house, data) == code
        wire = await open_wire(strict_house)
        wire.send(unfinished)
        await wire.writer.drain()
        wire.drop()
        strict_house.drops.clear()

    for _ in range(20):
        await abuse()
    gc.collect()
    before = resident_bytes()
    for _ in range(200):
        await abuse()
    await eventually(lambda: strict_house.app_sessions() == 0)
    gc.collect()
    grown = resident_bytes() - before
    print(f"resident memory after 1,000 abused connections: {grown / 2**20:+.1f} MiB")
    assert grown < 5 * 2**20
