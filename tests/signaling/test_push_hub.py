"""Pushes through a notification hub: what it is sent, and what becomes of whatever it answers, or does not."""

import asyncio
from typing import Any

import pytest

from fitting.push import Gone, Later, PushOutcome, Refused, Sent
from tests.eventually import eventually
from tests.fakes.notification_hubs import Scripted
from tests.signaling.push_desk import ANDROID, APPLE, PACKAGE, QUESTION, SECRETS, Desk, hub_desk

HANG = Scripted(trouble="hang")
# What is waited for one that hangs; the others answer sooner, however busy the machine is.
HANGS_S = 1.0


async def pushed(desk: Desk) -> PushOutcome:
    return await desk.notifier.send(APPLE, PACKAGE)


async def test_the_service_accepts_every_push_and_the_token_is_in_its_header_only() -> None:
    async with hub_desk() as desk:
        for to in (ANDROID, APPLE):
            for note in (PACKAGE, QUESTION):
                assert await desk.notifier.send(to, note) == Sent()
        assert desk.service.breaches == []
        for asked in desk.service.asked:
            assert asked.target == "/phones/messages/?direct&api-version=2015-04"
            handle = asked.headers["ServiceBusNotification-DeviceHandle"]
            rest = {name: value for name, value in asked.headers.items() if value != handle}
            assert handle in (ANDROID.token, APPLE.token)
            assert handle not in str(rest) + asked.target + asked.body.decode()
        assert desk.count("auricle_push_total", platform="fcm", outcome="sent") == 2


def surplus(body: Any, text: str) -> Any:
    """What of a body is not the fixed shape."""
    notes = {note.pointer: note for note in (PACKAGE, QUESTION)}
    data = body["message"]["android"]["data"] if "message" in body else {k: body.get(k) for k in ("a", "d", "k")}
    note = notes[data["d"]]
    fixed = {"a": "fit", "d": note.pointer, "k": note.nonce}
    if "message" not in body:
        expected: Any = {"aps": {"alert": text, "sound": "default", "content-available": 1}, **fixed}
    else:
        android = {
            "collapse_key": note.kind,
            "priority": {"package": "HIGH", "question": "NORMAL"}[note.kind],
            "ttl": f"{note.expires_in_s}s",
            "notification": {"tag": note.nonce},
            "data": fixed,
        }
        expected = {"message": {"notification": {"body": text}, "android": android}}
    return None if body == expected else body


async def test_no_body_has_anything_but_the_fixed_shape() -> None:
    async with hub_desk(push_text="Bitte öffnen.", push_timeout_s=HANGS_S) as desk:
        desk.service.script.extend([Scripted(), Scripted(503), Scripted(400, detail="no"), HANG])
        for to in (ANDROID, APPLE):
            for note in (PACKAGE, QUESTION, PACKAGE):
                await desk.notifier.send(to, note)
        assert len(desk.service.asked) == 6
        assert [surplus(asked.json, "Bitte öffnen.") for asked in desk.service.asked] == [None] * 6


async def test_a_duplicate_push_shows_once() -> None:
    async with hub_desk() as desk:
        for _ in range(2):
            await desk.notifier.send(APPLE, PACKAGE)
            desk.wait(3_600)
        first, second = desk.service.asked
        assert first.headers["apns-collapse-id"] == second.headers["apns-collapse-id"] == PACKAGE.nonce
        for _ in range(2):
            await desk.notifier.send(ANDROID, PACKAGE)
        tags = {asked.json["message"]["android"]["notification"]["tag"] for asked in desk.service.asked[2:]}
        assert tags == {PACKAGE.nonce}


async def test_a_signature_is_made_once_and_anew_before_it_ends() -> None:
    async with hub_desk() as desk:
        for wait_s in (0, 3_000, 299, 2, 3_300, -7_200):
            desk.wait(wait_s)
            assert await pushed(desk) == Sent()
        first, second, third, fourth, fifth, sixth = (a.headers["Authorization"] for a in desk.service.asked)
        assert first == second == third
        assert len({first, fourth, fifth, sixth}) == 4


async def test_a_wrong_key_is_told_once_and_a_signature_that_was_refused_is_made_anew() -> None:
    async with hub_desk() as desk:
        good, desk.service.key = desk.service.key, "another"
        assert [await pushed(desk), await pushed(desk)] == [Refused("push_unauthorized")] * 2
        assert [(line["event"], line["code"]) for line in desk.lines()] == [("push_refused", "push_unauthorized")]
        desk.service.key = good
        desk.wait(1)
        assert await pushed(desk) == Sent()
        desk.service.key = "another"
        await pushed(desk)
        assert desk.events() == ["push_refused"] * 2
        tokens = [asked.headers["Authorization"] for asked in desk.service.asked]
        assert tokens[1] != tokens[2]
        assert desk.count("auricle_push_total", platform="apns", outcome="refused") == 3


@pytest.mark.parametrize(
    "answer", [Scripted(410), Scripted(400, detail='{"reason":"BadDeviceToken"}'), Scripted(404, detail="Unregistered")]
)
async def test_a_dead_token_is_gone_and_the_others_are_not(answer: Scripted) -> None:
    async with hub_desk() as desk:
        desk.service.dead[APPLE.token] = answer
        assert [await pushed(desk) for _ in range(9)] == [Gone()] * 9
        assert await desk.notifier.send(ANDROID, PACKAGE) == Sent()
        assert desk.events() == []


async def test_a_hub_with_another_name_takes_no_token_for_dead() -> None:
    async with hub_desk(push_hub="phnoes") as desk:
        assert await pushed(desk) == Refused("push_hub_unknown")


async def test_an_answer_that_is_very_long_is_read_in_part() -> None:
    async with hub_desk() as desk:
        desk.service.script.append(Scripted(400, detail="x" * 5_000 + " BadDeviceToken " + "x" * 5_000_000))
        assert await pushed(desk) == Refused("push_malformed")
        assert await pushed(desk) == Sent()


async def test_an_answer_that_is_packed_is_not_unpacked() -> None:
    async with hub_desk() as desk:
        desk.service.script.append(Scripted(400, {"Content-Encoding": "gzip"}, "not even gzip"))
        assert await pushed(desk) == Refused("push_malformed")


async def test_no_cookie_is_kept() -> None:
    # A host with a name, because the client keeps no cookies of numbers anyway.
    async with hub_desk() as desk, hub_desk(push_url=desk.service.url.replace("127.0.0.1", "localhost")) as named:
        desk.service.script.append(Scripted(201, {"Set-Cookie": "known=again"}))
        assert [await pushed(named), await pushed(named)] == [Sent(), Sent()]
        assert ["Cookie" in asked.headers for asked in desk.service.asked] == [False, False]


async def test_a_redirect_is_not_followed() -> None:
    async with hub_desk() as desk, hub_desk() as elsewhere:
        desk.service.script.append(Scripted(307, {"Location": f"{elsewhere.service.url}/phones/messages/"}))
        assert await pushed(desk) == Later(30.0)
        assert elsewhere.service.asked == []


@pytest.mark.parametrize(
    ("answer", "later_s"),
    [
        (Scripted(429, {"Retry-After": "20"}), 20.0),
        (Scripted(429, {"Retry-After": "Fri, 15 Jan 2027 08:00:20 GMT"}), 20.0),
        (Scripted(403, {"Retry-After": "20"}), 20.0),
        (Scripted(503, {"Retry-After": "20"}), 20.0),
    ],
)
async def test_a_service_that_asks_for_it_is_left_alone(answer: Scripted, later_s: float) -> None:
    async with hub_desk() as desk:
        desk.service.script.append(answer)
        assert await pushed(desk) == Later(later_s)
        desk.wait(5)
        assert await desk.notifier.send(ANDROID, QUESTION) == Later(15.0)
        assert len(desk.service.asked) == 1
        desk.wait(15)
        assert await pushed(desk) == Sent()
        assert desk.events() == ["push_service_away", "push_service_back"]
        assert desk.lines()[0]["cause"] == f"status {answer.status}"
        assert desk.count("auricle_push_total", platform="apns", outcome="later") == 1


async def test_an_hour_without_the_service_costs_a_request_now_and_then() -> None:
    async with hub_desk() as desk:
        desk.service.always = Scripted(503)
        for _ in range(3_600):
            assert isinstance(await pushed(desk), Later)
            desk.wait(1)
        assert 60 <= len(desk.service.asked) <= 70
        desk.service.always = None
        desk.wait(60)
        assert [await pushed(desk) for _ in range(9)] == [Sent()] * 9
        assert desk.events() == ["push_service_away", "push_service_back"]
        assert desk.lines()[0]["cause"] == "status 503"


async def test_a_service_that_does_not_answer_is_given_up() -> None:
    async with hub_desk(push_timeout_s=HANGS_S) as desk:
        desk.service.script.append(HANG)
        assert await pushed(desk) == Later(30.0)
        assert desk.count("auricle_bound_reached_total", bound="push_timeout_s") == 1
        assert await pushed(desk) == Sent()


async def test_a_connection_that_breaks_and_a_service_that_is_not_there() -> None:
    async with hub_desk() as desk:
        desk.service.script.append(Scripted(trouble="reset"))
        assert await pushed(desk) == Later(30.0)
    async with hub_desk(push_url=desk.service.url) as nobody:
        assert [await pushed(nobody) for _ in range(5)] == [Later(30.0)] * 5
        assert await pushed(nobody) == Later(5.0)
        assert [line["cause"] for line in nobody.lines()] == ["ClientConnectorError"]


async def test_so_many_pushes_at_a_time_and_no_queue() -> None:
    async with hub_desk(max_push_sends=2) as desk, asyncio.TaskGroup() as sending:
        desk.service.always = HANG
        sends = [sending.create_task(pushed(desk)) for _ in range(2)]
        await eventually(lambda: desk.service.at_once == 2)
        assert await pushed(desk) == Later(1.0)
        assert desk.count("auricle_bound_reached_total", bound="max_push_sends") == 1
        desk.service.let_go.set()
        assert [await send for send in sends] == [Sent(), Sent()]
        assert await pushed(desk) == Sent()
        assert desk.service.most_at_once == 2


async def test_a_higher_bound_is_not_cut_off_by_the_http_client() -> None:
    async with hub_desk(max_push_sends=101) as desk, asyncio.TaskGroup() as sending:
        desk.service.always = HANG
        for _ in range(101):
            sending.create_task(pushed(desk))
        await eventually(lambda: desk.service.at_once == 101)
        desk.service.let_go.set()


async def test_a_try_that_is_cancelled_leaves_the_next_one_free() -> None:
    async with hub_desk() as desk:
        desk.service.script.extend([Scripted(503)] * 5 + [HANG])
        for _ in range(5):
            await pushed(desk)
        desk.wait(5)
        asked = len(desk.service.asked)
        trial = asyncio.ensure_future(pushed(desk))
        await eventually(lambda: len(desk.service.asked) == asked + 1)
        assert await pushed(desk) == Later(5.0)
        trial.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trial
        assert desk.events() == ["push_service_away"]
        assert await pushed(desk) == Sent()
        assert desk.events() == ["push_service_away", "push_service_back"]


async def test_closing_ends_what_is_on_its_way() -> None:
    async with hub_desk() as desk:
        desk.service.script.append(HANG)
        send = asyncio.ensure_future(pushed(desk))
        await eventually(lambda: desk.service.at_once == 1)
        await desk.notifier.close()
        assert await send == Later(30.0)


async def test_whatever_goes_wrong_no_line_names_token_pointer_or_key() -> None:
    async with hub_desk(push_timeout_s=HANGS_S) as desk:
        echo = " ".join(SECRETS)
        desk.service.script.extend(Scripted(status, detail=echo) for status in (400, 401, 404, 413, 418))
        desk.service.script.extend([HANG, Scripted(trouble="reset"), Scripted(500, {"Retry-After": echo}, echo)])
        desk.service.script.extend([Scripted(302, {"Location": f"/{APPLE.token}"}), Scripted(503), Scripted(429)])
        for _ in range(11):
            await pushed(desk)
            await desk.notifier.send(ANDROID, QUESTION)
            desk.wait(60)
        assert {"push_refused", "push_service_away"} <= set(desk.events())
        told = desk.log.getvalue() + desk.metrics.page().decode()
        assert [secret for secret in SECRETS if secret in told] == []
