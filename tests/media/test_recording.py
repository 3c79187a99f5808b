"""A recording on a disk: whoever has the key gets it back, and nothing of it can be changed, moved or cut unnoticed."""

import io
from collections.abc import Callable

import av
import numpy as np
import pytest

from media.recording import CHUNK_BYTES, RecordingHead, RecordingMistake, begin, key_id, opened, read
from media.recording_container import VoicesWriter
from media.relay_sound import BLOCK_SAMPLES

KEY, OTHER = b"k" * 32, b"o" * 32
HEAD = RecordingHead(recording="r1", visit="v1", device="d1", began_at_s=1_800_000_000.0, peers=(0, 1))


def written(*pieces: bytes, ended: bool = True) -> list[bytes]:
    """The head, then each chunk."""
    head, sealer = begin(HEAD, KEY, key=b"f" * 32, nonce=b"n" * 12)
    chunks = [head]
    for piece in pieces:
        chunks += [one for one in (sealer.seal(piece), sealer.flush()) if one]
    return [*chunks, sealer.end()] if ended else chunks


def plain(file: bytes, *keys: bytes) -> bytes:
    return b"".join(opened(io.BytesIO(file), keys or (KEY,)))


def test_whoever_has_the_key_gets_it_back() -> None:
    file = b"".join(written(b"one", b"two" * CHUNK_BYTES))
    assert plain(file, OTHER, KEY) == b"one" + b"two" * CHUNK_BYTES
    head = read(io.BytesIO(file))
    assert (head.visit, head.peers, head.key_id, head.container) == ("v1", (0, 1), key_id(KEY), "matroska")
    assert b"one" not in file
    with pytest.raises(RecordingMistake, match=key_id(KEY)):
        plain(file, OTHER)


CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "moved": lambda chunks: [chunks[0], chunks[2], chunks[1], *chunks[3:]],
    "left out": lambda chunks: [chunks[0], *chunks[2:]],
    "twice": lambda chunks: [chunks[0], chunks[1], *chunks[1:]],
    "one bit": lambda chunks: [*chunks[:2], chunks[2][:-1] + bytes([chunks[2][-1] ^ 1]), *chunks[3:]],
    "cut": lambda chunks: chunks[:-1],
    "cut inside": lambda chunks: [*chunks[:-1], chunks[-1][:-3]],
    "added": lambda chunks: [*chunks, b"x"],
    "another visit": lambda chunks: [chunks[0].replace(b'"v1"', b'"v2"'), *chunks[1:]],
    "a length that is none": lambda chunks: [*chunks[:-1], b"\xff\xff\xff\xff"],
    "no head": lambda chunks: chunks[1:],
    "a head that is none": lambda chunks: [chunks[0][:12] + b"}" * 400],
    "nothing": lambda _: [],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_was_done_to_it_is_found(change: Callable[[list[bytes]], list[bytes]]) -> None:
    with pytest.raises(RecordingMistake):
        plain(b"".join(change(written(b"one", b"two", b"three"))))


def test_what_came_before_the_loss_of_its_end_is_given_back() -> None:
    got: list[bytes] = []
    with pytest.raises(RecordingMistake, match="end is missing"):
        got.extend(opened(io.BytesIO(b"".join(written(b"one", b"two", ended=False))), (KEY,)))
    assert got == [b"one", b"two"]


def test_a_stream_for_each_voice_that_other_programs_play() -> None:
    file = io.BytesIO()
    writer = VoicesWriter((0, 2), file.write)
    tone = (b"\x00\x10" * 2 * (BLOCK_SAMPLES // 2)) + (b"\x00\xf0" * 2 * (BLOCK_SAMPLES // 2))
    for n in range(50):
        writer.add(n, {2: tone})
    writer.close()
    with av.open(io.BytesIO(file.getvalue()), "r") as container:
        assert [one.metadata["title"] for one in container.streams] == ["peer 0", "peer 2"]
        loudest = dict.fromkeys((0, 1), 0.0)
        frames = dict.fromkeys((0, 1), 0)
        for packet in container.demux():
            for frame in packet.decode():
                assert isinstance(frame, av.AudioFrame)
                index = packet.stream.index
                frames[index] += 1
                loudest[index] = max(loudest[index], float(np.abs(frame.to_ndarray()).max()))
    assert min(frames.values()) >= 49
    assert loudest[1] > 0.05
    assert loudest[0] < 0.001
