"""One visit over Azure Communication Services: a call, a chat both ways, and what happens when they fail in the middle.

The two ends are as an app has them: the hub for the visit, Microsoft's chat client with the token that the hub gave.
The calling SDK is not open source and is not here: what it needs to join is looked at instead. Read ``over_acs``.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import aiohttp
import jwt

from clients.demo.acs_service import AcsService
from clients.demo.delivering import WAIT_S, DemoFailed
from clients.demo.stage import DEVICE, Stage
from clients.hub_client import HubClient
from protocol.contract.base import Answer, Failure
from protocol.contract.calls import (
    AcsJoin,
    AnswerCall,
    CallAnswer,
    CallBackendChanged,
    CallEnded,
    CallToken,
    IncomingCall,
    RefreshCallToken,
    StartCall,
)
from protocol.contract.chat import MessageReceived, MessageSent, SendMessage
from protocol.contract.visits import AdmitToVisit, Invited, JoinVisit, JoinVisitAnswer

__all__ = ["over_acs"]

A = TypeVar("A", bound=Answer)
T = TypeVar("T")
_EVERY_S: Final = 0.05
_KINDS: Final = (IncomingCall, CallBackendChanged, CallEnded, MessageReceived)


@dataclass(slots=True)
class _End:
    """One end of the visit, and what it has heard."""

    hub: HubClient
    heard: list[Any] = field(default_factory=list)

    async def ask(self, method: str, payload: Any, answer: type[A]) -> A:
        given = await self.hub.ask(method, payload, answer=answer)
        if isinstance(given, Failure):
            raise DemoFailed(f"{method} was refused: {given.error.code}")
        return given

    async def first(self, kind: type[T], matches: Callable[[T], bool] = lambda _: True) -> T:
        def found() -> T | None:
            return next((one for one in self.heard if isinstance(one, kind) and matches(one)), None)

        async def look() -> bool:
            return found() is not None

        await _until(look, kind.__name__)
        told = found()
        if told is None:
            raise DemoFailed(f"{kind.__name__} was not heard")
        return told


async def over_acs(stage: Stage, acs: AcsService) -> None:
    """The whole visit, from its appointment to what is left of it there."""
    visit = await _scheduled(stage)
    async with _end(stage, stage.fitter_token) as ann, _end(stage, stage.phone_token) as pat:
        for one in (ann, pat):
            joined = await one.ask("JoinVisit", JoinVisit(visit=visit), JoinVisitAnswer)
        await ann.ask("AdmitToVisit", AdmitToVisit(visit=visit, participant=joined.participant), Invited)
        call_id, join = await _call(stage, ann, pat, visit)
        await _chat(stage, acs, ann, visit, join)
        await _failed(stage, acs, (ann, pat), AnswerCall(visit=visit, call_id=call_id))
        await _ended(stage, acs, visit)


async def _call(stage: Stage, ann: _End, pat: _End, visit: str) -> tuple[str, AcsJoin]:
    """Both get what the calling SDK needs, and nothing more."""
    started = await ann.ask("StartCall", StartCall(visit=visit, media="video"), CallAnswer)
    incoming = await pat.first(IncomingCall)
    answered = await pat.ask("AnswerCall", AnswerCall(visit=visit, call_id=incoming.call_id), CallAnswer)
    mine, theirs = started.acs, answered.acs
    if not isinstance(mine, AcsJoin) or not isinstance(theirs, AcsJoin):
        raise DemoFailed("the call does not go over ACS")
    stage.checks.expect("both are in one room", mine.room_id == theirs.room_id and isinstance(mine.room_id, str))
    stage.checks.expect("each is somebody else there", mine.user_id != theirs.user_id)
    stage.checks.expect(
        "nobody has a name there", {mine.display_name, theirs.display_name} == {"Professional", "Patient"}
    )
    claims = jwt.decode(theirs.token, options={"verify_signature": False})
    stage.checks.expect("a token lasts an hour", claims["exp"] - claims["iat"] == 3_600)
    scopes = claims.get("acsScope", "")
    stage.checks.expect("and is good for joining alone", scopes == "voip.join,chat.join.limited", scopes)
    stage.printer.tell(
        "acs_call",
        f"the call goes over ACS: one room, {mine.display_name} and {theirs.display_name}, tokens for an hour",
        backend="acs",
    )
    return started.call_id, theirs


async def _chat(stage: Stage, acs: AcsService, ann: _End, visit: str, join: AcsJoin) -> None:
    """The patient's app writes in ACS, the professional over the hub; each reads the other, once."""
    from azure.communication.chat.aio import ChatClient, CommunicationTokenCredential

    options: dict[str, Any] = {"connection_verify": acs.ca}
    async with ChatClient(acs.url, CommunicationTokenCredential(join.token), **options) as chat:

        async def listed() -> bool:
            return bool([one async for one in chat.list_chat_threads()])

        await _until(listed, "the patient in the thread")
        [thread] = [one async for one in chat.list_chat_threads()]
        async with chat.get_chat_thread_client(str(thread.id), **options) as client:
            await client.send_message("I hear you well")
            told = await ann.first(MessageReceived, lambda one: one.message.text == "I hear you well")
            written = SendMessage(visit=visit, client_id="demo-1", text="So do I")
            await ann.ask("SendMessage", written, MessageSent)

            async def arrived() -> bool:
                return "So do I" in await _texts(client)

            await _until(arrived, "the message in ACS")
            stage.checks.expect("each message is there once", await _texts(client) == ["I hear you well", "So do I"])
    here = [one.message.text for one in ann.heard if isinstance(one, MessageReceived)]
    stage.checks.expect("and here once", here == ["I hear you well", "So do I"], str(here))
    stage.printer.tell("acs_chat", f"the chat goes both ways: message {told.message.n} came from ACS, one went there")


async def _failed(stage: Stage, acs: AcsService, ends: tuple[_End, _End], call: AnswerCall) -> None:
    """ACS fail when a token is to be refreshed: the call goes on between the two, and both know why."""
    await acs.flip("POST", "/faults", {"kind": "status", "area": "identities", "status": 503})
    request = RefreshCallToken(visit=call.visit, call_id=call.call_id)
    refused = await ends[1].hub.ask("RefreshCallToken", request, answer=CallToken)
    stage.checks.expect("no token is had from a service that fails", not isinstance(refused, CallToken))
    for one in ends:
        told = await one.first(CallBackendChanged)
        stage.checks.expect("everybody hears why", (told.backend, told.reason) == ("webrtc", "away"), told.reason)
    again = await ends[1].ask("AnswerCall", call, CallAnswer)
    stage.checks.expect("the call is the same one", (again.backend, again.call_id) == ("webrtc", call.call_id))
    await acs.flip("DELETE", "/faults")
    stage.printer.tell("acs_failed", "ACS failed in the middle: the same call goes on over WebRTC, and both know why")


async def _ended(stage: Stage, acs: AcsService, visit: str) -> None:
    await _rest(stage, "PUT", f"visits/{visit}/end", {"reason": "done"}, 200)

    async def closed() -> bool:
        seen = await acs.flip("GET", "")
        return bool(seen["rooms"] == 0 and seen["threads"] == 0)

    await _until(closed, "an end in ACS")
    messages = await _rest(stage, "GET", f"visits/{visit}/messages", None, 200)
    stage.checks.expect("what was written stays here", len(messages["items"]) == 2, str(len(messages["items"])))
    stage.printer.tell("acs_closed", "the visit is over: room and thread are gone, tokens revoked; our history stays")


async def _texts(client: Any) -> list[str]:
    """What people wrote in a thread, the oldest first."""
    found = [one async for one in client.list_messages() if one.type == "text"]
    return [one.content.message for one in reversed(found)]


async def _until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Ask until it is so."""
    try:
        async with asyncio.timeout(2 * WAIT_S):
            while not await holds():  # noqa: ASYNC110  # polling: ACS tell a Python client nothing
                await asyncio.sleep(_EVERY_S)
    except TimeoutError:
        raise DemoFailed(f"{what}: not within {2 * WAIT_S:g} s") from None


@asynccontextmanager
async def _end(stage: Stage, token: str) -> AsyncIterator[_End]:
    hub = HubClient(f"{stage.server.url}/hub", token=token, protocol=stage.options.protocol)
    end = _End(hub)
    for kind in _KINDS:
        hub.on(kind.__name__, end.heard.append, kind)
    async with hub:
        yield end


async def _scheduled(stage: Stage) -> str:
    when = datetime.now(UTC) + timedelta(minutes=5)
    body = {"startsLocal": when.strftime("%Y-%m-%dT%H:%M"), "zone": "Etc/UTC", "durationMin": 30}
    made = await _rest(stage, "POST", f"devices/{DEVICE}/visits", body, 201)
    return str(made["visit"])


async def _rest(stage: Stage, method: str, path: str, body: Any, wanted: int) -> Any:
    headers = {"Authorization": f"Bearer {stage.fitter_token}"}
    url = f"{stage.server.url}/api/v1/{path}"
    async with aiohttp.ClientSession() as http, http.request(method, url, json=body, headers=headers) as answer:
        if answer.status != wanted:
            raise DemoFailed(f"{method} {path} was answered with {answer.status}")
        return await answer.json()
