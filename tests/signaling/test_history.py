"""A device's past over real sockets: revisions with their decibels, comparisons, and events as they come."""

import json

import msgspec
import pytest

from clients.hub_client import HubCallError
from protocol.contract.devices import AcquireLease, LeaseAnswer
from protocol.contract.history import (
    Compare,
    CompareAnswer,
    GetHistory,
    GetRevision,
    HistoryAnswer,
    RevisionAnswer,
)
from tests.signaling.by_hand import socket
from tests.signaling.care import CONTENT, Connect, change, louder
from tests.signaling.conftest import House
from tests.signaling.visit import Visit, visit


async def two_changes(connect: Connect) -> Visit:
    here = await visit(connect)
    await here.apply(change(here.leased))
    leased = await here.call("AcquireLease", AcquireLease(device="d1", session="s1"), LeaseAnswer)
    await here.apply(change(leased, *louder(-10), key="k2", reason="too sharp"))
    return here


async def test_who_changed_what_by_how_many_decibels_newest_first(connect: Connect) -> None:
    here = await two_changes(connect)
    page = await here.call("GetHistory", GetHistory(device="d1", limit=2), HistoryAnswer)
    newest, before = page.revisions
    assert (newest.author, newest.reason, newest.origin, newest.parent) == (
        "ann",
        "too sharp",
        "fitting",
        before.revision,
    )
    assert [(one.path, one.band_hz, one.ddb) for one in newest.changes] == [
        ("g50Ddb", 1000, -10),
        ("g65Ddb", 1000, -10),
        ("g80Ddb", 1000, -10),
    ]
    assert {one.ddb for one in before.changes} == {20}
    assert "K7" in before.safety.rules
    rest = await here.call("GetHistory", GetHistory(device="d1", before=page.next), HistoryAnswer)
    assert [(one.origin, one.parent, one.changes) for one in rest.revisions] == [("readback", "", ())]
    assert rest.next is msgspec.UNSET


async def test_one_revision_and_one_that_does_not_exist(connect: Connect) -> None:
    here = await visit(connect, live=False)
    assert here.leased.head
    first = here.leased.head.revision
    answer = await here.call("GetRevision", GetRevision(device="d1", revision=first), RevisionAnswer, by=here.pat)
    assert answer.content == CONTENT
    for method, request in (
        ("GetRevision", GetRevision(device="d1", revision="elsewhere")),
        ("CompareRevisions", Compare(device="d1", base=first, wanted="elsewhere")),
    ):
        with pytest.raises(HubCallError) as unknown:
            await here.ann.invoke(method, request, result=object)
        assert unknown.value.code == "not_found"


async def test_base_aid_and_wanted_beside_each_other(connect: Connect) -> None:
    here = await two_changes(connect)
    page = await here.call("GetHistory", GetHistory(device="d1"), HistoryAnswer)
    newest, middle, first = (one.revision for one in page.revisions)
    answer = await here.call(
        "CompareRevisions", Compare(device="d1", base=first, wanted=middle, aid=True), CompareAnswer
    )
    assert {one.ddb for one in answer.changes} == {20}
    assert answer.three_way
    assert {(leaf.base, leaf.aid, leaf.wanted, leaf.conflict) for leaf in answer.three_way} == {(100, 110, 120, True)}
    plain = await here.call("CompareRevisions", Compare(device="d1", base=middle, wanted=newest), CompareAnswer)
    assert plain.three_way is msgspec.UNSET


async def test_the_past_is_told_and_then_what_comes(connect: Connect, house: House) -> None:
    here = await visit(connect, live=False)
    watcher = await socket(house, "abe", "clinician", hub="/hub")
    call = {"type": 4, "invocationId": "1", "target": "WatchDevice", "arguments": [{"device": "d1", "after": 1}]}
    await watcher.send(json.dumps(call).encode() + b"\x1e")
    [first] = await watcher.messages(1)
    assert (first["type"], first["item"]["n"], first["item"]["kind"], first["item"]["state"]) == (
        2,
        2,
        "lease",
        "granted",
    )
    await here.go_live()
    agreed, live = (message["item"] for message in await watcher.messages(2))
    assert (agreed["state"], agreed["actor"], live["state"], live["actor"]) == (
        "consent_accepted",
        "pat",
        "live",
        "ann",
    )
    assert (live["n"], len({first["item"]["hash"], agreed["hash"], live["hash"]})) == (4, 3)
