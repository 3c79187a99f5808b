"""A hub of somebody's own beside the care hub: whom it reaches, what it keeps, what it asks, and when it is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import pytest

from clients.hub_client import HubClient
from clients.hub_errors import HubCallError
from protocol.contract.session import Hello, HelloAnswer
from protocol.errors import Unavailable
from signaling.app import create_app
from signaling.config import Config, ConfigError
from signaling.hub import Caller, Hub, declared_methods, endpoints_of, hub_method
from signaling.log import LogBook
from signaling.policy import ANYONE, IncompletePolicy, Rule
from signaling.server import drain
from tests.eventually import eventually
from tests.signaling.conftest import KEY, House, OpenHouse
from tests.signaling.party import Party

END = "end"
Guest = Callable[..., Awaitable["Listening"]]


class Listening:
    """A client and all that it heard; it answers ``howMany`` when its gate is open."""

    def __init__(self, hub: HubClient) -> None:
        self.hub = hub
        self.heard: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer: Any = 41
        hub.on("heard", self.heard.append, object)
        hub.on("howMany", self._how_many, object)

    async def _how_many(self, what: object) -> Any:
        self.heard.append(what)
        await self.gate.wait()
        return self.answer

    async def call(self, target: str, *arguments: object) -> Any:
        return await self.hub.invoke(target, *arguments, result=object)

    async def settled(self) -> list[Any]:
        """Everything that was sent to it before now."""
        await self.call("Tell", "caller", END)
        await eventually(lambda: END in self.heard)
        *seen, end = self.heard
        assert end == END
        self.heard.clear()
        return seen


@pytest.fixture
def party() -> Party:
    return Party([])


@pytest.fixture
async def house(open_house: OpenHouse, party: Party) -> House:
    return await open_house(hubs=[party])


@pytest.fixture
async def guest(house: House) -> AsyncIterator[Guest]:
    """Connects clients that speak JSON and MessagePack by turns."""
    clients: list[HubClient] = []

    async def connect(user: str, path: str = Party.path) -> Listening:
        protocol = "messagepack" if len(clients) % 2 else "json"
        client = HubClient(house.url + path, token=house.token(user), protocol=protocol, reconnect=None)  # type: ignore[arg-type]  # one of two literals
        listening = Listening(client)
        clients.append(client)
        await client.start()
        return listening

    yield connect
    for client in clients:
        await client.stop()


async def everybody(guest: Guest) -> list[Listening]:
    """Two connections of ann, one of bob, one of cem; what they heard of each other's coming is forgotten."""
    people = [await guest(user) for user in ("ann", "ann", "bob", "cem")]
    for person in people:
        await person.settled()
    return people


async def hears(people: list[Listening]) -> str:
    """Who heard exactly one ``what``, as digits of their places."""
    heard = [await person.settled() for person in people]
    assert all(what in ([], [{"what": 1}]) for what in heard), heard
    return "".join(str(place) for place, what in enumerate(heard) if what)


@pytest.mark.parametrize(("whom", "expected"), [("all", "0123"), ("others", "123"), ("caller", "0")])
async def test_all_others_and_the_caller(guest: Guest, whom: str, expected: str) -> None:
    people = await everybody(guest)
    await people[0].call("Tell", whom, {"what": 1})
    assert await hears(people) == expected


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [("group", "g", "02"), ("others_in_group", "g", "2"), ("group", "empty", ""), ("user", "ann", "01")],
)
async def test_groups_and_users_with_and_without_exceptions(guest: Guest, kind: str, name: str, expected: str) -> None:
    people = await everybody(guest)
    for person in (people[0], people[2], people[3]):
        await person.call("Join", "g")
    await people[3].call("Leave", "g")
    await people[0].call("TellMany", kind, name, [], {"what": 1})
    assert await hears(people) == expected
    excluded = [people[1].hub.connection_id, people[2].hub.connection_id]
    await people[0].call("TellMany", kind, name, excluded, {"what": 1})
    assert await hears(people) == expected.translate({ord("1"): None, ord("2"): None})


async def test_one_connection_and_nobody(guest: Guest) -> None:
    people = await everybody(guest)
    await people[0].call("TellOne", people[1].hub.connection_id, {"what": 1})
    assert await hears(people) == "1"
    await people[0].call("TellOne", "nobody", {"what": 1})
    assert await hears(people) == ""


async def test_items_stay_with_their_connection_through_calls_and_hooks(guest: Guest) -> None:
    ann, other = await guest("ann"), await guest("ann")
    await ann.call("Add", "colour", "red")
    assert await ann.call("Who") == {"name": "ann", "colour": "red"}
    assert await other.call("Who") == {"name": "ann"}


async def test_a_client_result_has_the_type_that_was_asked_for(guest: Guest) -> None:
    ann = await guest("ann")
    assert await ann.call("Ask", "apples") == 42
    assert ann.heard == ["apples"]
    ann.answer = "many"
    with pytest.raises(HubCallError, match="The client's answer does not fit"):
        await ann.call("Ask", "apples")


async def test_another_connection_is_asked_in_its_own_format_while_other_calls_run(guest: Guest) -> None:
    ann, bob = await guest("ann"), await guest("bob")
    await ann.settled()
    for asks, asked, name in ((ann, bob, "ann"), (bob, ann, "bob")):
        asked.heard.clear()
        asked.gate.clear()
        question = asyncio.ensure_future(asks.call("AskOne", asked.hub.connection_id, {"what": [1, None]}))
        await eventually(partial(bool, asked.heard))
        assert asked.heard == [{"what": [1, None]}]
        assert await asks.call("Who") == {"name": name}
        asked.gate.set()
        assert await question == 42


async def test_asking_a_caller_that_was_kept_lets_no_call_overtake_another(guest: Guest, party: Party) -> None:
    ann = await guest("ann")
    await ann.call("Keep")
    async with asyncio.TaskGroup() as calls:
        calls.create_task(ann.call("Wait"))
        calls.create_task(ann.call("Add", "behind", ""))
        await eventually(lambda: party.notes == ["waits"])
        assert await party.kept.ask("howMany", "apples", result=int) == 41
        with pytest.raises(HubCallError):
            await ann.call("Unknown")  # is answered at once, and came behind the two
        assert party.notes == ["waits"]
        party.gate.set()
    assert party.notes == ["waits", "waited", "behind"]


async def test_who_asks_nobody_is_told_so(guest: Guest) -> None:
    ann = await guest("ann")
    with pytest.raises(HubCallError, match=r"\[unavailable\] no such connection"):
        await ann.call("AskOne", "nobody", 1)


async def test_a_hub_sends_outside_of_any_call(guest: Guest, party: Party) -> None:
    people = await everybody(guest)
    party.clients.user("bob", "c1").send("heard", {"what": 1})
    assert await hears(people) == "2"
    party.clients.all.excluding(people[0].hub.connection_id).send("heard", {"what": 1})
    assert await hears(people) == "123"
    assert await party.clients.connection(people[3].hub.connection_id).ask("howMany", 7, result=int) == 41
    assert await people[3].settled() == [7]
    with pytest.raises(Unavailable):
        await party.clients.connection("nobody").ask("howMany", 7, result=int)


async def test_coming_and_going_is_told_to_the_others(guest: Guest) -> None:
    ann = await guest("ann")
    bob = await guest("bob")
    assert await ann.settled() == ["bob came"]
    await bob.hub.stop()
    await eventually(lambda: ann.heard == ["bob left"])


async def test_rules_about_objects_ask_the_hubs_own_grants(guest: Guest) -> None:
    ann = await guest("ann")
    assert await ann.call("Enter", {"room": "ann"}) == "ann"
    with pytest.raises(HubCallError, match=r"\[not_found\] no such room"):
        await ann.call("Enter", {"room": "bob"})


async def test_the_care_hub_and_the_own_hub_do_not_hear_each_other(guest: Guest, party: Party) -> None:
    ann = await guest("ann")
    care = await guest("ann", "/hub")
    await ann.settled()
    party.clients.all.send("heard", {"what": 1})
    party.clients.user("ann", "c1").send("heard", {"what": 1})
    assert await ann.settled() == [{"what": 1}] * 2
    answer = await care.hub.ask("Hello", Hello(contract=1), answer=HelloAnswer)
    assert isinstance(answer, HelloAnswer)
    assert care.heard == []
    with pytest.raises(HubCallError, match="Method does not exist"):
        await ann.call("Hello", {"contract": 1})


async def test_hooks_that_break_are_logged_and_hold_nothing_up(house: House, guest: Guest, party: Party) -> None:
    party.broken = frozenset({"on_expiring", "on_disconnected", "on_draining"})
    ann, bob = await guest("ann"), await guest("bob")
    house.wall.now_s += 3_541
    house.sweep()
    assert party.notes == ["on_expiring"] * 2
    await bob.hub.stop()
    await eventually(lambda: "on_disconnected" in party.notes)
    await drain(house.parts, Config(drain_s=1.0))
    await eventually(lambda: "back in 1000 ms" in ann.heard)
    assert ann.hub.end is None or ann.hub.end.may_reconnect
    assert house.app_sessions() == 0
    text = house.log.getvalue()
    assert "secret-crash-detail" not in text
    assert all(f'"method": "{hook}"' in text for hook in party.broken)


@pytest.mark.parametrize("is_broken", [True, False])
async def test_what_a_hub_says_when_a_token_has_ended_is_the_last_that_its_client_hears(
    house: House, guest: Guest, party: Party, is_broken: bool
) -> None:
    party.broken = frozenset({"on_expired"} if is_broken else ())
    ann = await guest("ann")
    house.wall.now_s += 3_600
    for _ in range(2):
        house.sweep()
    await eventually(lambda: ann.hub.end is not None)
    assert ann.hub.end is not None
    assert (ann.heard[-1], ann.hub.end.error) == ("expired", "The token has expired.")
    assert party.notes.count("on_expired") == 1
    assert ("on_expired" in house.log.getvalue()) == is_broken


class Second(Hub):
    """Has the name of another."""

    path: ClassVar[str] = "/hubs/second"
    name: ClassVar[str] = "party"


class Nameless(Hub):
    """Has no name."""

    path: ClassVar[str] = "/hubs/nameless"


class OnTheCareHub(Hub):
    """Has the path of another."""

    path: ClassVar[str] = "/hub"
    name: ClassVar[str] = "mine"


class Unruled(Hub):
    """Has a method without a rule, for it has no policy at all."""

    path: ClassVar[str] = "/hubs/unruled"
    name: ClassVar[str] = "unruled"

    @hub_method("Leak")
    def leak(self, _: Caller) -> None:
        """Must never run."""


class Inheriting(Unruled):
    """Methods of a base class are not callable, so their rules are mistakes."""

    name: ClassVar[str] = "inheriting"
    policy: ClassVar[Mapping[str, Rule]] = {"Leak": ANYONE}


class InParts(Unruled):
    """What a hub names as a part of itself is its own, and needs its rule."""

    parts: ClassVar[tuple[type, ...]] = (Unruled,)
    policy: ClassVar[Mapping[str, Rule]] = {"Leak": ANYONE}

    @hub_method("Own")
    def own(self, _: Caller) -> None:
        """Its own."""


def test_the_methods_of_a_hub_are_its_own_and_those_of_its_parts() -> None:
    assert set(declared_methods(InParts)) == {"Leak", "Own"}
    with pytest.raises(IncompletePolicy, match="no rule for Own"):
        endpoints_of(InParts())


@pytest.mark.parametrize(
    ("hub", "error", "says"),
    [
        (Second(), ConfigError, "Second: another hub has the name party"),
        (Nameless(), ConfigError, "Nameless: a hub needs a name"),
        (OnTheCareHub(), ConfigError, "OnTheCareHub: another hub has the path /hub"),
        (Unruled(), IncompletePolicy, "unruled: no rule for Leak"),
        (Inheriting(), IncompletePolicy, "inheriting: rules for unknown methods Leak"),
    ],
)
def test_a_hub_that_cannot_be_served_keeps_the_server_down(hub: Hub, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        create_app(Config(dev=True), signing_key=KEY, log=LogBook(), hubs=[Party([]), hub])
