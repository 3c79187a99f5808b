"""The AsyncAPI document is valid, lists everything that there is, and is what its commands print."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, get_args

import pytest
from jsonschema import Draft7Validator  # type: ignore[import-untyped]  # it ships no types

from protocol.contract.base import Answer, Failure, Wire
from protocol.contract.pushes import ANSWERS, PUSHES, Push
from protocol.errors import LocalProtocolError
from signaling.asyncapi import asyncapi
from signaling.hub import Caller, Hub, Lane, hub_method
from signaling.hubs.care_hub import CARE_POLICY, CareHub
from signaling.policy import ANYONE, IncompletePolicy, Relation, Rule

ROOT = Path(__file__).parents[2]
OFFICIAL = ROOT / "tests" / "schemas" / "asyncapi-3.0.0.json"
URL = "ws://127.0.0.1:8080"
Json = dict[str, Any]


def printed(*arguments: str) -> str:
    command = [sys.executable, "-m", "signaling", "asyncapi", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module")
def document() -> Json:
    """What a person gets who asks for it."""
    found: Json = json.loads(printed())
    return found


def official() -> Draft7Validator:
    return Draft7Validator(json.loads(OFFICIAL.read_text()))


def operations(document: Json, action: str) -> set[str]:
    return {name for name, operation in document["operations"].items() if operation["action"] == action}


def walked(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and its value, however deep."""
    for key, item in value.items() if isinstance(value, dict) else ():
        yield key, item
        yield from walked(item)
    for item in value if isinstance(value, list) else ():
        yield from walked(item)


def resolved(document: Json, ref: str) -> Any:
    found: Any = document
    for part in ref.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_it_is_valid_by_the_official_schema(document: Json) -> None:
    assert [error.message for error in official().iter_errors(document)] == []


def test_the_official_schema_would_refuse_another(document: Json) -> None:
    altered = json.loads(json.dumps(document))
    altered["operations"]["Submit"]["action"] = "fly"
    del altered["info"]["version"]
    assert len(list(official().iter_errors(altered))) == 2


def test_every_method_and_every_push_is_in_it(document: Json) -> None:
    """The server does not start when ``CARE_POLICY`` and the methods differ, so it names them all."""
    assert operations(document, "receive") == set(CARE_POLICY)
    assert operations(document, "send") == {kind.__name__ for kind in get_args(Push)}
    assert set(document["operations"]) <= set(document["channels"]["care"]["messages"])


def test_the_contract_page_names_them_too(document: Json) -> None:
    page = (ROOT / "docs" / "contract.md").read_text()
    assert [name for name in document["operations"] if f"`{name}`" not in page] == []


def test_every_reference_leads_somewhere_and_every_message_has_a_payload_or_takes_nothing(document: Json) -> None:
    for key, ref in walked(document):
        if key == "$ref":
            assert resolved(document, ref), ref
    without = {name for name, message in document["components"]["messages"].items() if "payload" not in message}
    assert without <= operations(document, "receive")
    for schema in document["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)


def test_every_operation_says_what_it_does_and_who_may_call_it(document: Json) -> None:
    for name, operation in document["operations"].items():
        assert operation["summary"], name
        if operation["action"] == "receive":
            rule = CARE_POLICY[name]
            assert operation["x-auricle-roles"] == {role: how.value for role, how in rule.relations.items()}
            assert operation.get("x-auricle-object") == rule.object_field
    assert document["operations"]["Report"]["x-auricle-lane"] == "safety"


def test_patterns_are_those_of_every_json_schema_reader(document: Json) -> None:
    patterns = {value for key, value in walked(document["components"]) if key == "pattern"}
    assert patterns
    assert not any("\\Z" in pattern or "(?P" in pattern for pattern in patterns)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("https://care.example.org", {"host": "care.example.org", "protocol": "wss"}),
        ("ws://[::1]:80/a/b/", {"host": "[::1]:80", "protocol": "ws", "pathname": "/a/b"}),
    ],
)
def test_it_names_the_server_that_it_is_printed_for(url: str, server: Json, tmp_path: Path) -> None:
    file = tmp_path / "asyncapi.json"
    assert printed("--url", url, "--indent", "0", "--output", str(file)) == ""
    assert file.read_text().count("\n") == 1
    document = json.loads(file.read_text())
    assert document["servers"]["auricle"].items() >= server.items()
    assert list(official().iter_errors(document)) == []


class Ask(Wire, frozen=True, kw_only=True):
    """What a method of the small hub takes.

    And a second paragraph.
    """

    device: str


class Told(Answer, frozen=True, kw_only=True):
    """What it answers, or pushes."""

    number: int


class Small(Hub):
    """One method of each shape."""

    path: ClassVar[str] = "/hubs/small"
    name: ClassVar[str] = "small"
    policy: ClassVar[Mapping[str, Rule]] = {
        "Forget": ANYONE,
        "Watch": Rule({"patient": Relation.OWN}, "device"),
        "Count": Rule({"patient": Relation.ANY}),
        "Try": ANYONE,
    }

    @hub_method("Forget", lane=Lane.SAFETY)
    def forget(self, _: Caller) -> None:
        """Take nothing, answer nothing."""

    @hub_method("Watch")
    async def watch(self, _: Caller, ask: Ask) -> AsyncIterator[Told]:
        """Stream what happens.

        Until somebody cancels.
        """
        yield Told(number=len(ask.device))

    @hub_method("Count")
    async def count(self, _: Caller, ask: Ask) -> list[int]:
        """Answer with something that is no object."""
        return [len(ask.device)]

    @hub_method("Try")
    async def attempt(self, _: Caller, ask: Ask) -> Told | Failure | None:
        """Answer with one of several."""
        return Told(number=len(ask.device))


TOLD: Mapping[str, type] = {"Told": Told}


NO_ANSWERS: Mapping[str, type] = {}


def small(pushes: Mapping[str, type] = TOLD, answers: Mapping[str, type] = NO_ANSWERS, hub: type[Hub] = Small) -> Json:
    found: Json = json.loads(json.dumps(asyncapi(hub, pushes, answers, url=URL, version="1")))
    return found


def test_each_shape_of_a_method_is_described() -> None:
    document = small()
    assert list(official().iter_errors(document)) == []
    forget, watch = document["operations"]["Forget"], document["operations"]["Watch"]
    assert "reply" not in forget
    assert forget["x-auricle-lane"] == "safety"
    assert document["components"]["messages"]["Forget"] == {"name": "Forget", "title": "Forget"}
    assert watch["x-auricle-stream"] is True
    assert (watch["summary"], watch["description"]) == ("Stream what happens.", "Until somebody cancels.")
    assert (watch["x-auricle-roles"], watch["x-auricle-object"]) == ({"patient": "own"}, "device")
    replies = {
        name: [message["$ref"].rsplit("/", 1)[1] for message in operation["reply"]["messages"]]
        for name, operation in document["operations"].items()
        if "reply" in operation
    }
    assert replies == {"Watch": ["Told"], "Count": ["CountResult"], "Try": ["Told", "Failure"]}
    assert document["components"]["messages"]["CountResult"]["payload"] == {
        "type": "array",
        "items": {"type": "integer"},
    }
    assert document["operations"]["Told"]["action"] == "send"


class TakesTwo(Hub):
    """Not of the contract."""

    path: ClassVar[str] = "/hubs/two"
    name: ClassVar[str] = "two"
    policy: ClassVar[Mapping[str, Rule]] = {"Pair": ANYONE}

    @hub_method("Pair")
    def pair(self, _: Caller, left: Ask, right: Ask) -> None:
        """Take two objects."""


class TakesAStream(Hub):
    """Not of the contract either."""

    path: ClassVar[str] = "/hubs/stream"
    name: ClassVar[str] = "stream"
    policy: ClassVar[Mapping[str, Rule]] = {"Sum": ANYONE}

    @hub_method("Sum")
    async def sum(self, _: Caller, numbers: AsyncIterator[int]) -> None:
        """Take a stream."""


class HasNoRule(Hub):
    """Its method has no rule."""

    path: ClassVar[str] = "/hubs/unruled"
    name: ClassVar[str] = "unruled"

    @hub_method("Leak")
    def leak(self, _: Caller) -> None:
        """Must not be described as if anybody might call it."""


@pytest.mark.parametrize(
    ("pushes", "answers", "hub", "error", "says"),
    [
        ({}, {}, TakesTwo, LocalProtocolError, "Pair: a method of the contract takes one object"),
        ({}, {}, TakesAStream, LocalProtocolError, "Sum: a method of the contract takes one object"),
        ({}, {}, HasNoRule, IncompletePolicy, "no rule for Leak"),
        ({"Watch": Told}, {}, Small, LocalProtocolError, "a method and a push have the same name"),
        ({"Told": Ask}, {}, Small, LocalProtocolError, "Told: the name of two messages"),
        ({}, {"Told": Ask}, Small, LocalProtocolError, "an answer has no push"),
    ],
)
def test_what_cannot_be_described_is_an_error(
    pushes: Mapping[str, type],
    answers: Mapping[str, type],
    hub: type[Hub],
    error: type[Exception],
    says: str,
) -> None:
    with pytest.raises(error, match=says):
        small(pushes, answers, hub)


def test_a_push_that_asks_has_a_reply() -> None:
    document = small({"Told": Told, "Asked": Ask}, {"Asked": Told})
    assert list(official().iter_errors(document)) == []
    asked = document["operations"]["Asked"]
    assert asked["action"] == "send"
    assert asked["reply"]["messages"] == [{"$ref": "#/channels/small/messages/Told"}]
    assert "reply" not in document["operations"]["Told"]


def test_the_care_hubs_document_needs_no_running_hub() -> None:
    assert asyncapi(CareHub, PUSHES, ANSWERS, url=URL, version="1")["channels"]["care"]["address"] == "/hub"
