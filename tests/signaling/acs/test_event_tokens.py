"""Event Grid's tokens, over HTTP: which are taken, and what becomes of the keys when Entra is not well."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from clients.fake_acs.event_tokens import AUDIENCE, PUBLISHER
from clients.fake_acs.events import TOPIC
from clients.fake_acs.faults import Fault
from clients.fake_acs.service import FakeAcs, fake_acs
from media.entra import DISCOVERY, SKEW_S, Flaw
from signaling.acs.entra_keys import EntraKeys, KeyLimits, KeySource
from signaling.config import Config
from tests.eventually import eventually
from tests.signaling.acs.scene import acs_config, acs_scene
from tests.signaling.acs.test_acs_chat import SECRET, heard, pat_in_acs, texts
from tests.signaling.conftest import House, running_house

EVENT = {"eventType": "Microsoft.Communication.ChatMessageReceivedInThread", "topic": TOPIC, "data": {"threadId": "t"}}
VALIDATION = {
    "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
    "topic": TOPIC,
    "data": {"validationCode": "code"},
}
OTHER = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def entra_config(acs: FakeAcs, **changes: Any) -> dict[str, Any]:
    return {
        "acs_event_tenant": acs.directory.tenant,
        "acs_event_audience": AUDIENCE,
        "acs_event_topic": TOPIC,
        "acs_event_discovery": acs.discovery,
        **changes,
    }


class Desk:
    """A server that listens to Event Grid; its clocks are moved by the test."""

    def __init__(self, house: House, acs: FakeAcs) -> None:
        self.house, self.acs = house, acs

    async def post(self, token: str | None, *events: dict[str, Any], **headers: str) -> tuple[int, str]:
        """The status, and the code of a refusal."""
        given = headers if token is None else {"Authorization": f"Bearer {token}", **headers}
        body = list(events or (EVENT,))
        async with self.house.http.post(f"{self.house.url}/acs/events", json=body, headers=given) as answer:
            problem = await answer.json(content_type=None) if answer.content_length else {}
            return answer.status, problem.get("code", "")

    def token(self, **changes: Any) -> str:
        return self.acs.event_token(AUDIENCE, **changes)

    def came(self, outcome: str) -> float:
        return self.house.metric("auricle_acs_events_total", outcome=outcome)

    def reached(self, bound: str) -> float:
        return self.house.metric("auricle_bound_reached_total", bound=bound)

    def asked(self) -> int:
        """How often the keys were asked for."""
        return sum(one == f"GET {self.acs.directory.tenant}" for one in self.acs.asked)


@asynccontextmanager
async def desk_of(**changes: Any) -> AsyncIterator[Desk]:
    async with fake_acs() as acs, running_house(acs_config(acs, **entra_config(acs, **changes)), None) as house:
        house.wall.now_s = time.time()
        yield Desk(house, acs)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with desk_of() as found:
        yield found


@pytest.mark.parametrize("version", [1, 2])
async def test_event_grid_is_known_by_its_token(desk: Desk, version: int) -> None:
    desk.acs.event_token_version = version
    assert await desk.post(desk.token()) == (200, "")
    assert await desk.post(desk.acs.event_token(f"api://{AUDIENCE}")) == (200, "")
    assert desk.came("taken") == 2
    assert desk.asked() == 2, "the discovery document and the keys, once"


async def test_a_subscription_is_validated_behind_the_same_token(desk: Desk) -> None:
    url = f"{desk.house.url}/acs/events"
    assert not await desk.acs.events.subscribe(url, {})
    assert not await desk.acs.events.subscribe(url, {}, audience="44444444-4444-4444-8444-444444444444")
    assert await desk.acs.events.subscribe(url, {}, audience=AUDIENCE)
    assert await desk.post(desk.token(), {**VALIDATION, "topic": "/subscriptions/other"}) == (400, "bad_argument")
    assert (desk.came("validated"), desk.came("topic")) == (1, 1)


def unsigned(desk: Desk) -> str:
    name, _ = desk.acs.directory.signing.newest
    claims = jwt.decode(desk.token(), options={"verify_signature": False})
    return jwt.encode(claims, "", algorithm="none", headers={"kid": name})


def with_public_key_as_secret(desk: Desk) -> str:
    """The old confusion: the key that everybody knows, taken for one that is shared."""
    name, key = desk.acs.directory.signing.newest
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _, body, _ = desk.token().split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "typ": "JWT", "kid": name}).encode()).rstrip(b"=")
    signed = header + b"." + body.encode()
    mac = base64.urlsafe_b64encode(hmac.digest(pem, signed, hashlib.sha256)).rstrip(b"=")
    return (signed + b"." + mac).decode()


def signed_by_another(desk: Desk) -> str:
    name, _ = desk.acs.directory.signing.newest
    claims = jwt.decode(desk.token(), options={"verify_signature": False})
    return jwt.encode(claims, OTHER, algorithm="RS256", headers={"kid": name})


def header_of(**changes: Any) -> Callable[[Desk], str]:
    def make(desk: Desk) -> str:
        name, key = desk.acs.directory.signing.newest
        claims = jwt.decode(desk.token(), options={"verify_signature": False})
        return jwt.encode(claims, key, algorithm="RS256", headers={"kid": name, **changes})

    return make


def says(**changes: Any) -> Callable[[Desk], str]:
    return lambda desk: desk.token(**changes)


@pytest.mark.parametrize(
    ("make", "flaw"),
    [
        (unsigned, "algorithm"),
        (with_public_key_as_secret, "algorithm"),
        (signed_by_another, "signature"),
        (lambda desk: desk.token()[:-8] + "AAAAAAAA", "signature"),
        (lambda _: "a.b.c", "malformed"),
        (lambda _: "", "no_credentials"),
        (header_of(kid=""), "malformed"),
        (header_of(crit=["b64"], b64=True), "malformed"),
        (header_of(kid="another"), "unknown_key"),
        (says(exp=int(time.time() - SKEW_S - 60)), "expired"),
        (says(nbf=int(time.time() + SKEW_S + 3_600)), "not_yet_valid"),
        (says(exp=None), "malformed"),
        (says(exp="tomorrow"), "malformed"),
        (says(nbf=None), "malformed"),
        (says(aud="44444444-4444-4444-8444-444444444444"), "audience"),
        (says(aud=[AUDIENCE]), "audience"),
        (says(aud=None), "audience"),
        (says(iss="https://sts.windows.net/99999999-9999-4999-8999-999999999999/"), "issuer"),
        (says(iss=None), "issuer"),
        (says(appid="99999999-9999-4999-8999-999999999999"), "publisher"),
        (says(appid=None), "publisher"),
        (says(azp="99999999-9999-4999-8999-999999999999"), "publisher"),
    ],
)
async def test_any_other_token_is_refused(desk: Desk, make: Callable[[Desk], str], flaw: str) -> None:
    assert await desk.post(make(desk)) == (401, "unauthenticated")
    assert await desk.post(make(desk), VALIDATION) == (401, "unauthenticated")
    assert desk.came(flaw) == 2
    assert await desk.post(desk.token()) == (200, "")


async def test_clocks_may_be_off_a_little(desk: Desk) -> None:
    now_s = time.time()
    assert await desk.post(desk.token(exp=int(now_s - SKEW_S + 60))) == (200, "")
    assert await desk.post(desk.token(nbf=int(now_s + SKEW_S - 60))) == (200, "")


async def test_without_a_token_nothing_is_taken(desk: Desk) -> None:
    assert await desk.post(None) == (401, "unauthenticated")
    assert await desk.post(None, Authorization=f"Basic {desk.token()}") == (401, "unauthenticated")
    # There is no secret, so none is the right one.
    assert await desk.post(None, **{"X-Auricle-Event-Secret": ""}) == (401, "unauthenticated")
    assert desk.came("no_credentials") == 3
    assert desk.asked() == 0


async def test_the_secret_stands_beside_the_token() -> None:
    async with desk_of(acs_event_secret=SECRET) as desk:
        assert await desk.post(desk.token()) == (200, "")
        assert await desk.post(None, **{"X-Auricle-Event-Secret": SECRET}) == (200, "")
        assert await desk.post(None, **{"X-Auricle-Event-Secret": "s" * 39}) == (401, "unauthenticated")
        assert desk.came("wrong_secret") == 1
        # Who shows a token is judged by it.
        assert (await desk.post(signed_by_another(desk), **{"X-Auricle-Event-Secret": SECRET}))[0] == 401


async def test_topics_are_those_that_are_configured() -> None:
    async with desk_of(acs_event_topic=f"{TOPIC}, /subscriptions/mine") as desk:
        for topic, status in {
            TOPIC.upper(): 200,
            "/subscriptions/mine": 200,
            "/subscriptions/MINE/resourceGroups/g": 200,
            "/subscriptions/miner/resourceGroups/g": 400,
            f"{TOPIC}2": 400,
            "": 400,
        }.items():
            assert (await desk.post(desk.token(), {**EVENT, "topic": topic}))[0] == status, topic
        assert (await desk.post(desk.token(), EVENT, {**EVENT, "topic": "/subscriptions/other"}))[0] == 400
        assert "acs_event_refused" in desk.house.log.getvalue()


async def test_a_new_key_is_found_when_it_is_named(desk: Desk) -> None:
    old = desk.token()
    assert await desk.post(old) == (200, "")
    desk.acs.directory.signing.rotate()
    # It is looked for, but not as often as anybody likes.
    assert await desk.post(desk.token()) == (401, "unauthenticated")
    assert (desk.came("unknown_key"), desk.reached("acs_event_keys_again_s")) == (1, 1)
    desk.house.monotonic.now_s += 61
    assert await desk.post(desk.token()) == (200, "")
    assert await desk.post(old) == (200, ""), "the one before is still published"
    assert desk.asked() == 4
    for _ in range(5):
        assert (await desk.post(header_of(kid="nobody's")(desk)))[0] == 401
    assert desk.asked() == 4


@pytest.mark.parametrize(
    ("fault", "bound"),
    [
        (Fault("status", "entra", status=503), ""),
        (Fault("status", "entra", status=302), ""),
        (Fault("reset", "entra"), ""),
        (Fault("hang", "entra"), "acs_timeout_s"),
        (Fault("drip", "entra"), "acs_timeout_s"),
        (Fault("garbage", "entra"), ""),
        (Fault("huge", "entra"), "max_acs_event_document_bytes"),
    ],
)
async def test_known_keys_are_good_for_a_while_without_entra(fault: Fault, bound: str) -> None:
    # Long enough for what is answered at once, and for the keys when they are there again.
    async with desk_of(acs_timeout_s=2.0 if bound == "acs_timeout_s" else 10.0) as desk:
        desk.acs.faults.on.append(fault)
        token = desk.token()
        # Not known yet: it may come again.
        assert await desk.post(token) == (503, "unavailable")
        assert await desk.post(token) == (503, "unavailable")
        assert (desk.came("keys_away"), desk.came("taken")) == (2, 0)
        assert not bound or desk.reached(bound) == 1, "asked once in a minute"
        assert desk.reached("max_acs_event_document_bytes") == (fault.kind == "huge")
        assert desk.house.log.getvalue().count("acs_event_keys_away") == 1
        desk.acs.faults.clear()
        desk.house.monotonic.now_s += 61
        assert await desk.post(token) == (200, "")
        assert "acs_event_keys_back" in desk.house.log.getvalue()
        desk.acs.faults.on.append(fault)
        desk.house.monotonic.now_s += 86_300
        assert await desk.post(token) == (200, ""), "read within a day"
        desk.house.monotonic.now_s += 200
        assert await desk.post(token) == (503, "unavailable")
        assert desk.reached("acs_event_keys_kept_s") == 1


async def test_the_documents_of_another_tenant_are_not_believed() -> None:
    issuer = "https://login.microsoftonline.com/99999999-9999-4999-8999-999999999999/v2.0"
    async with desk_of(acs_event_issuers=issuer) as desk:
        assert await desk.post(desk.token(iss=issuer)) == (503, "unavailable")
        assert "another issuer" in desk.house.log.getvalue()


async def test_so_many_may_wait_for_keys() -> None:
    async with desk_of(max_acs_event_waiting=2, acs_timeout_s=30.0) as desk:
        desk.acs.faults.on.append(Fault("hang", "entra"))
        token = desk.token()
        waiting = [asyncio.ensure_future(desk.post(token)) for _ in range(3)]
        await eventually(lambda: desk.reached("max_acs_event_waiting") == 1)
        await eventually(lambda: desk.asked() == 1)
        desk.acs.faults.clear()
        assert set(await asyncio.gather(*waiting)) == {(503, "unavailable")}


async def test_what_is_told_twice_is_written_once() -> None:
    """Deliveries come again and again: nothing is here or there twice."""
    async with acs_scene(settings=entra_config, acs_poll_s=600.0) as scene:
        url = f"{scene.house.url}/acs/events"
        assert await scene.acs.events.subscribe(url, {}, audience=AUDIENCE)
        scene.acs.events.repeats = 3
        async with await pat_in_acs(scene) as client:
            await client.send_message("Hello")
            await eventually(lambda: heard(scene) == ["Hello"])
            await eventually(lambda: scene.acs.events.told >= 3)
            await client.send_message("again")
            await eventually(lambda: heard(scene) == ["Hello", "again"])
            await eventually(lambda: scene.acs.events.told >= 6)
            [thread] = scene.acs.resource.threads.values()
            assert texts(thread) == ["Hello", "again"]
        assert set(scene.acs.events.answers) == {200}


def test_the_publisher_is_that_of_azure() -> None:
    assert Config().acs_event_expected.publishers == {PUBLISHER}


async def keys_of(source: KeySource, key_id: str) -> tuple[jwt.PyJWK | Flaw, list[str]]:
    """A key, and what was told."""
    told: list[str] = []
    limits = KeyLimits(timeout_s=5.0, again_s=60.0, kept_s=60.0, max_bytes=100_000, max_waiting=1)
    keys = EntraKeys(source, limits, monotonic=time.monotonic, reached=told.append, told=told.append)
    return await keys.key(key_id), told


async def test_keys_come_over_https_alone() -> None:
    source = KeySource("http://127.0.0.1:9/.well-known/openid-configuration", frozenset())
    key, told = await keys_of(source, "k")
    assert key is Flaw.KEYS_AWAY
    assert told[0] == "keys come over https alone"


async def test_nobody_sends_us_elsewhere_for_keys() -> None:
    async with fake_acs() as acs:

        async def elsewhere(_: web.Request) -> web.Response:
            raise web.HTTPTemporaryRedirect(acs.discovery)

        app = web.Application()
        app.router.add_get("/", elsewhere)
        name, _ = acs.directory.signing.newest
        issuers = frozenset({acs.discovery.removesuffix(DISCOVERY)})
        async with TestServer(app) as server:
            direct = KeySource(acs.discovery, issuers, ca=str(acs.ca))
            redirected = KeySource(str(server.make_url("/")), issuers, ca=str(acs.ca), https_only=False)
            assert isinstance((await keys_of(direct, name))[0], jwt.PyJWK)
            key, told = await keys_of(redirected, name)
    assert key is Flaw.KEYS_AWAY
    assert told[0] == "answered with 307"
