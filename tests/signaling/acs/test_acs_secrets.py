"""Nothing of ACS that is a secret, or leads to a person, is where it does not belong: planted ones are looked for."""

import base64
import io
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from clients.fake_acs.event_tokens import AUDIENCE
from clients.fake_acs.faults import Fault
from protocol.contract.calls import AcsJoin, CallToken, RefreshCallToken
from tests.eventually import eventually
from tests.signaling.acs.scene import AcsScene, acs_scene
from tests.signaling.acs.test_acs_calls import consent, end
from tests.signaling.acs.test_acs_chat import SECRET, pat_in_acs
from tests.signaling.acs.test_event_tokens import entra_config
from tests.signaling.visit import Told
from tests.signaling.visiting import said

TEXT = "my-ears-hurt-since-tuesday"


@pytest.fixture
def everything_logged() -> Iterator[io.StringIO]:
    """All that any library logs, however quietly."""
    stream, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(stream), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def forms(secret: str) -> Iterator[str]:
    """How it may be written."""
    yield from (secret, quote(secret, safe=""), secret.encode().hex())
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + secret.encode()).decode()
        yield coded[4:-4]


async def lived(scene: AcsScene) -> list[str]:
    """A visit with everything that can happen in it; the secrets that were in play."""
    answer = await scene.started()
    mine: Any = answer.acs
    async with await pat_in_acs(scene) as client:
        await client.send_message(TEXT)
        await eventually(lambda: scene.ann_told.heard["MessageReceived"])
    await said(scene.ann, TEXT + "-too")
    for kind in ("reset", "status"):
        scene.acs.faults.on.append(Fault(kind, "chat", status=401, count=2))
        await said(scene.ann, TEXT, f"c-{kind}")
    scene.acs.faults.clear()
    request = RefreshCallToken(visit="v1", call_id=answer.call_id)
    refreshed = await scene.ann.ask("RefreshCallToken", request, answer=CallToken)
    assert isinstance(refreshed, CallToken)
    scene.acs.faults.on.append(Fault("status", "identities", status=403, count=1))
    await scene.ann.ask("RefreshCallToken", request, answer=CallToken)
    await consent(scene, granted=False)
    await end(scene)
    await eventually(lambda: not scene.acs.resource.rooms)
    theirs = [acs for one in (scene.ann_told, scene.pat_told) for acs in _joins(one)]
    tokens = [join.token for join in (mine, refreshed.acs, *theirs)]
    known = list(scene.acs.resource.identities)
    return [
        scene.acs.resource.keys[0],
        SECRET,
        TEXT,
        *tokens,
        *(token.split(".")[1] for token in tokens),
        *known,
        *(one.removeprefix("8:acs:") for one in known),
    ]


def _joins(told: Told) -> list[AcsJoin]:
    return [one for payloads in told.heard.values() for one in payloads if isinstance(one, AcsJoin)]


async def test_planted_secrets_are_nowhere(everything_logged: io.StringIO) -> None:
    options: dict[str, Any] = {"acs_event_secret": SECRET, "acs_event_topic": "/subscriptions/t", "acs_poll_s": 0.01}
    async with acs_scene(**options) as scene:
        secrets = await lived(scene)
        store = scene.house.parts.hubs[0].hub._calls.backends._acs.parts.store  # type: ignore[attr-defined]  # the care hub's
        async with scene.house.http.get(f"{scene.house.url}/metrics") as answer:
            metrics = await answer.text()
        places = {
            "log": scene.house.log.getvalue(),
            "libraries": everything_logged.getvalue(),
            "metrics": metrics,
            "configuration": repr(scene.house.parts.hubs[0]) + repr(store._people) + repr(scene.acs.asked),
        }
    found = [
        (place, secret[:12])
        for place, text in places.items()
        for secret in secrets
        if any(form in text for form in forms(secret))
    ]
    assert found == []
    assert "acs_trouble" in places["log"], "something went wrong, and was told"


async def test_event_grid_s_token_is_nowhere(everything_logged: io.StringIO) -> None:
    async with acs_scene(settings=entra_config) as scene:
        good = scene.acs.event_token(AUDIENCE)
        wrong = [scene.acs.event_token("other"), scene.acs.event_token(AUDIENCE, iss="other"), good[:-4] + "AAAA"]
        for token in (good, *wrong):
            headers = {"Authorization": f"Bearer {token}"}
            async with scene.house.http.post(f"{scene.house.url}/acs/events", json=[], headers=headers) as answer:
                told = await answer.text()
            assert not any(form in told for form in forms(token))
        async with scene.house.http.get(f"{scene.house.url}/metrics") as answer:
            places = [scene.house.log.getvalue(), everything_logged.getvalue(), await answer.text()]
    for token in (good, *wrong):
        claims = token.split(".")[1]
        assert not any(form in place for place in places for secret in (token, claims) for form in forms(secret))
    assert "acs_event_refused" in places[0]


def test_a_leak_would_be_found() -> None:
    secret = "8:acs:0123-4567"
    leaks = [f"x {secret} y", quote(secret, safe=""), base64.b64encode(b"ab" + secret.encode() + b"c").decode()]
    assert all(any(form in leak for form in forms(secret)) for leak in leaks)


def test_what_is_printed_shows_nothing() -> None:
    from media.acs import read_address
    from signaling.acs.service import AcsMessage, AcsToken
    from signaling.config import Config
    from signaling.stores.acs import StoredIdentity

    key = "c2VjcmV0LXNlY3JldA=="
    text = f"endpoint=https://clinic.communication.azure.com/;accesskey={key}"
    shown = [
        repr(Config(acs_connection_string=text, acs_event_secret=key * 2, acs_event_topic="/subscriptions/t")),
        repr(read_address(text, "")),
        repr(AcsToken(key, 1.0)),
        repr(AcsMessage("1", key, key, 1.0)),
        repr(StoredIdentity("c1", "user:pat", key, key.encode())),
        repr(
            AcsJoin(token=key, expires_at="", user_id=key, endpoint="", display_name=""),
        ),
    ]
    assert not any(key in one for one in shown)
