"""What a phone writes of its steps, and the wire that kills it at one of them."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clients.phone_events import EventLog, Tripwire, parse_kill
from clients.phone_faults import FaultSpec, parse_fault
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.memory import CHUNKS
from clients.virtual_aid.pair import VirtualPair
from protocol.contract.base import EARS
from protocol.contract.sessions import Withdraw
from tests.clients.offers import DEVICE, EPOCH, SERIALS, at_once, make_offer, make_pair
from tests.clients.phone_bench import Server, expected, make_runner


class Died(BaseException):
    """The process would be gone now."""


def die() -> None:
    raise Died


def lines(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


async def watched(path: Path, *, kind: str = "volatile", faults: Faults | None = None) -> list[dict[str, Any]]:
    """The lines of one delivery."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    log = EventLog(file, device=DEVICE, process="phone-1")
    aids = (VirtualAid(ear, SERIALS[ear], sleep=at_once, on_change=log.touched) for ear in EARS)
    pair = VirtualPair(*aids)
    pair.aid("left").faults = faults or Faults()
    offer = make_offer(pair, kind=kind)  # type: ignore[arg-type]  # one of two literals
    await make_runner(pair, watch=log).run_offer(offer, Server().report)
    os.close(file)
    written = lines(path)
    targets = {line["v"]["digest"] for line in written if line["f"] == "side_commit"}
    assert targets <= {expected(offer, ear) for ear in EARS}
    return written


async def test_every_step_of_a_delivery_is_a_line_by_the_monotonic_clock(tmp_path: Path) -> None:
    written = await watched(tmp_path / "events")
    assert [line["t"] for line in written] == sorted(line["t"] for line in written)
    assert {(line["p"], line["type"], line["dev"]) for line in written} == {("phone-1", "ok", DEVICE)}
    steps = [line["f"] for line in written]
    told, one_ear = ["journal", "result_out"], ["journal", "result_out", *["chunk"] * CHUNKS, "side_commit"]
    assert steps == [*told, *one_ear, "journal", *one_ear, *told, "result_out", "journal"]
    phases = [line["v"]["phase"] for line in written if line["f"] == "journal"]
    assert phases == ["received", "writing:right", "verified:right", "writing:left", "verified:left", "ended"]
    chunks = [line["v"] for line in written if line["f"] == "chunk"]
    assert [(chunk["ear"], chunk["k"]) for chunk in chunks] == [(ear, k) for ear in EARS for k in range(1, CHUNKS + 1)]
    assert {(chunk["epoch"], chunk["seq"], chunk["memory"]) for chunk in chunks} == {(EPOCH, 1, "ram")}


async def test_a_copy_to_nvm_and_its_way_back_are_told_apart(tmp_path: Path) -> None:
    written = await watched(tmp_path / "events", kind="persist", faults=Faults(nvm_failures=3))
    nvm = [(line["f"], line["v"]["ear"]) for line in written if line["v"].get("memory") == "nvm"]
    assert nvm == [("side_commit", "right"), ("restore", "right")]
    ram = [(line["f"], line["v"]["ear"]) for line in written if line["f"] == "restore" and line["v"]["memory"] == "ram"]
    assert ram == [("restore", "right"), ("restore", "left")]


def test_a_payload_is_written_as_digests_and_numbers(tmp_path: Path) -> None:
    file = os.open(tmp_path / "events", os.O_WRONLY | os.O_CREAT)
    log = EventLog(file, device=DEVICE)
    offer = make_offer(make_pair())
    log("offer_in", offer=offer)
    log("withdraw_in", withdraw=Withdraw(device=DEVICE, epoch=EPOCH, seq=4, cause="expired"))
    os.close(file)
    offered, withdrawn = (line["v"] for line in lines(tmp_path / "events"))
    assert offered["expect"] == {ear: expected(offer, ear) for ear in EARS}
    assert (offered["seq"], offered["attempt"], offered["fence"], offered["ears"]) == (1, 1, 1, ["right", "left"])
    assert "body" not in offered
    assert "g50" not in (tmp_path / "events").read_text()
    assert withdrawn["cause"] == "expired"


def test_without_a_file_nothing_is_written_and_the_wire_still_holds() -> None:
    with pytest.raises(Died):
        EventLog(-1, device=DEVICE, wire=Tripwire("boot", 1, die=die)).write("boot")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("boot:1", ("boot", 1)), ("journal.writing:right:2", ("journal.writing:right", 2))],
)
def test_where_to_die(text: str, parsed: tuple[str, int]) -> None:
    assert parse_kill(text) == parsed


@pytest.mark.parametrize("text", ["", "boot", "boot:0", "boot:x", ":"])
def test_where_nobody_can_die(text: str) -> None:
    with pytest.raises(ValueError, match="STEP:N"):
        parse_kill(text)


async def test_the_wire_is_reached_at_the_nth_time_and_only_there() -> None:
    for step, wanted in (("chunk", 11), ("chunk.left", 3), ("chunk.ram.left", 3), ("side_commit.right", 1)):
        log = EventLog(-1, device=DEVICE, wire=Tripwire(step, wanted, die=die))
        pair = VirtualPair(*(VirtualAid(ear, SERIALS[ear], sleep=at_once, on_change=log.touched) for ear in EARS))
        with pytest.raises(Died):
            await make_runner(pair, watch=log).run_offer(make_offer(pair), Server().report)
    for never in ("chunk.left:9", "nothing:1"):
        log = EventLog(-1, device=DEVICE, wire=Tripwire(*parse_kill(never), die=die))
        pair = VirtualPair(*(VirtualAid(ear, SERIALS[ear], sleep=at_once, on_change=log.touched) for ear in EARS))
        await make_runner(pair, watch=log).run_offer(make_offer(pair), Server().report)


@pytest.mark.parametrize(
    ("text", "fault", "switches"),
    [
        ("drop@3", FaultSpec("drop", 3), {"drop_link_after_chunk": 3}),
        ("left:nvm@2", FaultSpec("nvm", 2, "left"), {"nvm_failures": 2}),
        ("right:battery@10", FaultSpec("battery", 10, "right"), {"battery_percent": 10}),
        ("away@5", FaultSpec("away", 5), {"refuse_connects": 5}),
    ],
)
def test_faults_as_words(text: str, fault: FaultSpec, switches: dict[str, Any]) -> None:
    assert parse_fault(text) == fault
    assert not fault.is_timed
    assert fault.switches() == switches
    Faults(**switches)


@pytest.mark.parametrize("text", ["drop", "drop@9", "drop@x", "nose:drop@1", "flood@1", "nvm@1.5", "busy@-1"])
def test_words_that_are_no_fault(text: str) -> None:
    with pytest.raises(ValueError, match=r"in 'nvm|in 'drop|in 'busy|is no fault"):
        parse_fault(text)


async def test_faults_that_strike_later() -> None:
    pair = make_pair()
    for text in ("left:busy@0", "right:foreign@0", "right:restart@0", "right:button@0"):
        assert parse_fault(text).is_timed
        await parse_fault(text).strike_later(pair)
    assert pair.aid("left").faults.busy
    assert pair.aid("right").boots == 1
    await parse_fault("free@0").strike_later(pair)
    assert not pair.aid("left").faults.busy
