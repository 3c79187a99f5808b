"""Calls with real browsers, over two pods: with each other, with Python's end, three at once, and in another network.

What flows is asked of the browsers' connections, and counted as it is decoded in Python.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiortc import MediaStreamTrack

from clients.calling import CallEnd, CallNews, Talk
from clients.hub_client import HubClient
from clients.picture import PictureTrack
from clients.tone import ToneTrack
from protocol.contract.calls import RELAY_PEER, CallAnswer, IncomingCall
from protocol.contract.visits import JoinVisit, JoinVisitAnswer
from tests.databases import lent_postgres
from tests.e2e.chromium import Chromium, Tab, chromium
from tests.e2e.meeting import Meeting, schedule
from tests.pods_running import PodsRunning, pods_running, token_of
from tests.postgres import PostgresServer

# The first one may have to fetch the browser, and three ends of calls share what machine there is.
pytestmark = pytest.mark.timeout(300)
WEB = Path(__file__).parents[2] / "clients" / "web"
# Whoever waits sees nobody but himself.
ARRIVED = "document.querySelector('#room')?.hidden === false"
LET_IN = f"{ARRIVED} && document.querySelectorAll('#people li').length > 1"
PICTURES = 10
SAMPLES = 24_000
PATIENCE_S = 40.0


@pytest.fixture(scope="module")
async def pods(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PodsRunning]:
    async with lent_postgres(postgres) as url:
        folder = tmp_path_factory.mktemp("pods")
        environ = {"AURICLE_DATABASE_URL": url, "AURICLE_MEDIA_RELAY": "true"}
        async with pods_running(folder, count=2, environ=environ) as running:
            yield running


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Chromium]:
    async with chromium() as running:
        yield running


async def soon(holds: Callable[[], Awaitable[object]]) -> None:
    """Wait for it, as long as a machine may need that decodes pictures for three at once."""
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():  # noqa: ASYNC110  # polling: nobody tells what was decoded
            await asyncio.sleep(0.05)


@dataclass
class Room:
    """Ann's page, from the first pod; everybody else comes over the second one."""

    browser: Chromium
    east: str
    west: str
    meeting: Meeting
    ann: Tab
    stack: AsyncExitStack

    async def page(self, url: str, words: str) -> Tab:
        """Somebody opens the page; ``words`` stand behind the #."""
        tab = await self.browser.tab(f"{url}/visit/#{words}")
        self.stack.push_async_callback(tab.close)
        await tab.until(ARRIVED)
        return tab

    async def patient(self) -> Tab:
        """The patient comes, and is let in."""
        token = token_of(self.meeting.patient, "patient", "device")
        pat = await self.page(self.west, f"visit={self.meeting.visit}&token={token}")
        await self.let_in()
        await pat.until(LET_IN)
        return pat

    async def phone(self, *tracks: type[PictureTrack]) -> "Phone":
        """The same with Python's end of a call."""
        token = token_of(self.meeting.patient, "patient", "device")
        hub = HubClient(f"{self.west}/hub", token=token, protocol="messagepack", reconnect=None)
        phone = Phone(hub, self.meeting.visit, *tracks)
        await hub.start()
        self.stack.push_async_callback(hub.stop)
        self.stack.push_async_callback(phone.end.close)
        join = JoinVisit(visit=self.meeting.visit)
        assert isinstance(await hub.ask("JoinVisit", join, answer=JoinVisitAnswer), JoinVisitAnswer)
        await self.let_in()
        return phone

    async def let_in(self) -> None:
        """Ann lets in who waits, and sees him there."""
        await self.ann.click("[data-admit]")
        await self.ann.until("!document.querySelector('[data-admit]')")


class Phone:
    """Python's end of a call, which says how many frames it decoded since ``mark``."""

    def __init__(self, hub: HubClient, visit: str, *more: type[PictureTrack]) -> None:
        self.rung: list[str] = []
        self._more = more
        self.end = CallEnd(hub, visit, self._tracks, on_news=self._hear)

    @property
    def talk(self) -> Talk:
        assert self.end.talk is not None
        return self.end.talk

    async def answer(self) -> None:
        async def rings() -> list[str]:
            return self.rung

        await soon(rings)
        assert isinstance(await self.end.answer(self.rung[-1]), Talk)

    async def hears(self, *peers: int, pictures: bool = False) -> None:
        """New frames of each of these are decoded."""
        sounds_before, pictures_before = self._sounds(), dict(self.talk.pictures)
        loud_before = dict(self.talk.loud)

        async def more() -> bool:
            sounds, seen = self._sounds(), self.talk.pictures
            return all(
                self.talk.loud.get(peer, 0) > loud_before.get(peer, 0)
                and sounds.get(peer, 0) >= sounds_before.get(peer, 0) + 20
                and (not pictures or seen.get(peer, 0) >= pictures_before.get(peer, 0) + PICTURES)
                for peer in peers
            )

        await soon(more)

    def _sounds(self) -> dict[int, int]:
        return {peer: frames - self.talk.pictures.get(peer, 0) for peer, frames in self.talk.frames.items()}

    def _tracks(self) -> list[MediaStreamTrack]:
        return [ToneTrack(440), *(kind() for kind in self._more)]

    def _hear(self, news: CallNews) -> None:
        if isinstance(news, IncomingCall):
            self.rung.append(news.call_id)


async def hears(tab: Tab, *, ends: int = 1, pictures: bool = True) -> list[str]:
    """Something new is decoded of every other end; the names of the ways that it comes."""
    before = {end.way: end for end in await tab.flow()}

    async def more() -> bool:
        found = await tab.flow()
        return len(found) == ends and all(
            end.packets > 20
            and end.samples >= (before[end.way].samples if end.way in before else 0) + SAMPLES
            and (not pictures or end.pictures >= (before[end.way].pictures if end.way in before else 0) + PICTURES)
            for end in found
        )

    await soon(more)
    return [end.way for end in await tab.flow()]


async def goes_another(tab: Tab, old: list[str]) -> None:
    """What it hears comes by other ways than before."""

    async def is_another() -> bool:
        return [end.way for end in await tab.flow()] not in ([], old)

    await soon(is_another)


@pytest.fixture
async def room(pods: PodsRunning, browser: Chromium) -> AsyncIterator[Room]:
    async def known(user: str) -> str:
        return token_of(user)

    east, west = pods.pods[0].url, pods.pods[1].url
    meeting = await schedule(east, known, {"role": "caregiver", "name": "Mia"})
    async with AsyncExitStack() as stack:
        ann = await browser.tab(f"{east}/visit/#visit={meeting.visit}&token={meeting.token}")
        stack.push_async_callback(ann.close)
        await ann.until(LET_IN)
        yield Room(browser, east, west, meeting, ann, stack)
        assert ann.complaints == []


async def test_two_browsers_on_two_pods_write_see_and_hear_until_one_hangs_up(room: Room, tmp_path: Path) -> None:
    pat = await room.patient()
    assert await pat.run("location.hash") == ""
    await pat.run("document.querySelector('#text').value = '<b>Good morning</b>'")
    await pat.click("#say button")
    await room.ann.until("document.querySelector('#messages li')?.textContent.endsWith('<b>Good morning</b>')")
    await room.ann.click("#start-video")
    await pat.click("#answer")
    for one in (room.ann, pat):
        await hears(one)
    await pat.click("#mute")
    await room.ann.until("document.querySelector('#faces').textContent.includes('(muted)')")
    await pat.screenshot(tmp_path / "visit.png")
    await pat.click("#hang-up")
    await room.ann.until("document.querySelector('#status').textContent === 'The call is over: hung up.'")
    assert await room.ann.flow() == await pat.flow() == []
    await room.ann.click("#start-audio")
    await pat.click("#decline")
    await room.ann.until("document.querySelector('#status').textContent === 'The call is over: declined.'")
    assert pat.complaints == []


async def test_two_browsers_find_another_way_after_the_network_has_changed(room: Room) -> None:
    pat = await room.patient()
    await pat.click("#start-video")
    await room.ann.click("#answer")
    ways = [await hears(one) for one in (room.ann, pat)]
    await pat.other_network()
    for one, old in ((room.ann, ways[0]), (pat, ways[1])):
        await goes_another(one, old)
        await hears(one)


async def test_a_browser_calls_a_phone_and_both_find_another_way(room: Room) -> None:
    phone = await room.phone(PictureTrack)
    await room.ann.click("#start-video")
    await phone.answer()
    way = await hears(room.ann)
    await phone.hears(0, pictures=True)
    await phone.talk.restart()
    await phone.hears(0, pictures=True)
    # What was on its way may still come by the old one for a moment.
    await goes_another(room.ann, way)
    way = await hears(room.ann)
    await room.ann.other_network()
    await goes_another(room.ann, way)
    await hears(room.ann)
    await phone.hears(0, pictures=True)


async def test_a_browser_and_a_phone_on_two_pods_see_and_hear_each_other_through_the_server(room: Room) -> None:
    phone = await room.phone(PictureTrack)
    assert isinstance(await phone.end.start("video", backend="relay"), Talk)
    await room.ann.click("#answer")
    await both_through_the_server(room, phone)
    await room.ann.click("#hang-up")
    # The next one moves there once both want it, since they cannot reach each other.
    await room.ann.click("#start-video")
    await phone.answer()
    (way,) = await hears(room.ann)
    assert set(phone.talk.links()) == {1 - phone.talk.peer}
    assert isinstance(await phone.end.wish_for_relay(), CallAnswer)
    await room.ann.click("#through-server")
    await both_through_the_server(room, phone)
    (through_server,) = await hears(room.ann)
    assert through_server != way
    # Another network is no reason to talk to anybody else.
    await room.ann.other_network()
    await goes_another(room.ann, [through_server])
    await both_through_the_server(room, phone)


async def both_through_the_server(room: Room, phone: Phone) -> None:
    """New sound, which is not silent, and pictures are decoded at both ends, over one connection each."""
    ann, faces = room.ann, "[...document.querySelectorAll('[data-peer]')]"

    async def is_relayed() -> bool:
        return set(phone.talk.links()) == {RELAY_PEER}

    await soon(is_relayed)
    await phone.hears(RELAY_PEER, pictures=True)
    names = f"{faces}.map((face) => `${{face.dataset.peer}} ${{face.textContent}}`).join()"
    await ann.until(f"{names} === '{RELAY_PEER} {room.meeting.patient}'")
    before = sum(end.energy for end in await ann.flow())
    await hears(ann)
    assert sum(end.energy for end in await ann.flow()) > before


async def test_a_phone_calls_two_browsers_and_each_hears_the_other_two(room: Room) -> None:
    link = await room.meeting.link(room.meeting.guests[0])
    mia = await room.page(room.west, f"link={link}")
    await room.let_in()
    phone = await room.phone()
    assert isinstance(await phone.end.start("audio"), Talk)
    await room.ann.click("#answer")
    await mia.click("#answer")
    for one in (room.ann, mia):
        await hears(one, ends=2, pictures=False)
    await phone.hears(1, 2)
    # The link is used up, but this tab comes back.
    await mia.run("window.isOld = true")
    await mia.send("Page.reload")
    await mia.until(f"!window.isOld && {LET_IN}")
    again = await room.browser.tab(f"{room.west}/visit/#link={link}")
    room.stack.push_async_callback(again.close)
    await again.until("document.querySelector('#status').textContent.includes('ask for another one')")


async def test_everything_on_the_page_has_a_name_for_those_who_cannot_see_it(room: Room) -> None:
    pat = await room.patient()
    await room.ann.click("#start-video")
    await pat.until("document.querySelector('#answer').checkVisibility()")
    tree = (await pat.send("Accessibility.getFullAXTree"))["nodes"]
    named = {"button", "textbox", "log", "list", "region", "heading"}
    found = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]]
    assert [role for role, name in found if role in named - {"list"} and not name] == []
    roles = {role for role, _ in found}
    assert roles >= {"button", "textbox", "log", "alert", "status", "main", "heading"}
    assert ("button", "Answer") in found
    assert ("textbox", "Message") in found
