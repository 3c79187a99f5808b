"""A bounded fuzz run of everything, and whether the fuzzer would see what it is there to see."""

import random
from collections.abc import Callable, Sequence

import pytest

from loadtest.fuzz.__main__ import main
from loadtest.fuzz.campaign import Campaign, shorten
from loadtest.fuzz.live import surprise
from loadtest.fuzz.steps import Step, Wrong, chunks
from protocol.errors import RemoteProtocolError
from protocol.signalr.framing import JsonSplitter
from protocol.signalr.json_codec import JsonCodec
from protocol.signalr.messages import Message
from protocol.signalr.resume import ResumeBuffer
from protocol.websocket import frames

KNOWN_SEED = "auricle"


@pytest.mark.parametrize("seed", [KNOWN_SEED, str(random.SystemRandom().randrange(10**9))], ids=["known", "random"])
def test_nothing_that_reads_a_clients_bytes_falls_over(seed: str) -> None:
    outcome = Campaign(seed).run(2.0)
    assert outcome.failure is None
    assert outcome.subjects.keys() == {"hub", "frames", "codecs", "splitters", "handshake", "upgrade"}
    assert outcome.steps > outcome.cases > 100


def test_a_case_is_made_from_the_seed_and_its_number_alone() -> None:
    for number in range(50):
        assert Campaign(KNOWN_SEED).case(number)[1] == Campaign(KNOWN_SEED).case(number)[1]
    assert Campaign(KNOWN_SEED).case(0)[1] != Campaign("another").case(0)[1]


def _take_any_close_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_may_be_sent", lambda _: True)


def _admit_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    count = ResumeBuffer.received

    def received(buffer: ResumeBuffer) -> bool:
        count(buffer)
        return True

    monkeypatch.setattr(ResumeBuffer, "received", received)


def _lose_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = JsonSplitter.feed

    def lossy(splitter: JsonSplitter, data: bytes) -> list[bytes]:
        return feed(splitter, data[1:] if splitter._held else data)

    monkeypatch.setattr(JsonSplitter, "feed", lossy)


def _raise_the_wrong_error(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = JsonCodec.decode

    def careless(codec: JsonCodec, body: bytes) -> Message | None:
        try:
            return decode(codec, body)
        except RemoteProtocolError:
            raise KeyError("type") from None

    monkeypatch.setattr(JsonCodec, "decode", careless)


def _close_on_unknown_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.signalr.json_codec._is_unknown_type", lambda _: False)


Plant = Callable[[pytest.MonkeyPatch], None]
PLANTED: list[Plant] = [
    _take_any_close_code,
    _admit_duplicates,
    _lose_what_is_held,
    _raise_the_wrong_error,
    _close_on_unknown_types,
]


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__.strip("_"))
def test_a_planted_fault_is_found_made_short_and_found_again(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(monkeypatch)
    outcome = Campaign(KNOWN_SEED).run(10.0)
    failure = outcome.failure
    assert failure is not None
    assert 1 <= len(failure.steps) <= 6
    assert main(["--seed", KNOWN_SEED, "--case", str(failure.case)]) == 1
    printed = capsys.readouterr().out
    assert failure.reason in printed
    assert f"again: python -m loadtest.fuzz --seed {KNOWN_SEED} --case {failure.case}" in printed


class Leaky:
    """A subject with nothing wrong but what it keeps."""

    name = "leaky"

    def steps(self, _: random.Random) -> list[Step]:
        return [Step("data", b"x")]

    def run(self, steps: Sequence[Step], _: random.Random) -> None:
        if not steps:
            raise Wrong("nothing to do")


def test_memory_that_grows_and_grows_is_a_failure() -> None:
    kept = iter(range(0, 10**12, 30 * 2**20))
    outcome = Campaign("x", [Leaky()], resident_bytes=lambda: next(kept)).run(10.0)
    assert outcome.failure is not None
    assert "memory has grown by 31457280 bytes" in outcome.failure.reason


def test_steps_that_do_not_matter_are_left_out() -> None:
    steps = [Step("data", bytes([number])) for number in range(40)]
    short = shorten(steps, lambda fewer: {b"\x03", b"\x1f"} <= {step.data for step in fewer})
    assert [step.data for step in short] == [b"\x03", b"\x1f"]


def test_chunks_are_the_stream_in_order() -> None:
    rng = random.Random(1)
    for _ in range(200):
        data = rng.randbytes(rng.randrange(400))
        parts = list(chunks(data, rng))
        assert b"".join(parts) == data
        assert all(parts)


def test_a_server_process_stands_it_and_serves_others_meanwhile(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seconds", "3", "--seed", KNOWN_SEED, "--server"]) == 0
    assert "probes answered" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("log", "found"),
    [
        ("", ""),
        ('{"level":"warning","event":"protocol_broken"}', ""),
        ('{"level":"error","event":"call_crashed","method":"Crash"}', ""),
        ('{"level":"error","event":"call_crashed","method":"Echo"}', "the server logged"),
        ('{"level":"error","event":"task_failed"}', "the server logged"),
        ("Traceback (most recent call last):", "the server wrote"),
    ],
)
def test_errors_in_the_servers_log_are_failures(log: str, found: str) -> None:
    assert surprise(log).startswith(found)
    assert bool(surprise(log)) == bool(found)


@pytest.mark.parametrize("option", ["--seconds=0", "--seconds=x", "--case=x"])
def test_unusable_options_get_exit_code_2(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([option])
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err
