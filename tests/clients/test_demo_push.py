"""The demo's push service keeps what it is sent, and its look at a body notices everything that is too much."""

import json
from typing import Any

import aiohttp
import pytest

from clients.demo.push_body import TooMuchTold, pointer_in
from clients.demo.push_service import PushService
from fitting.push import PushNote
from fitting.push_messages import native
from signaling.config import Config, config_from

POINTER, NONCE = "4z8vCEkriTA2SeXPsg84rA", "Osm7eU__sIBl0HZn0Sh4cw"
BODY = native("fcm", PushNote("package", POINTER, NONCE, 3_600), text=Config().push_text, now_s=0.0).body


def changed(path: str, value: Any) -> bytes:
    """The body with one more value, or another, at that place."""
    body = json.loads(BODY)
    *way, last = path.split(".")
    place = body
    for step in way:
        place = place[step]
    place[last] = value
    return json.dumps(body).encode()


def test_what_the_server_sends_holds_a_pointer_and_nothing_else() -> None:
    assert pointer_in(BODY, ["ann"]) == POINTER


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        changed("message.android.data.device", "d1"),
        changed("message.android.data.d", "d1"),
        changed("message.android.data.k", "r" * 23),
        changed("message.android.data.a", "fit d1"),
        changed("message.android.notification.title", "Ann"),
        changed("message.android.notification.tag", "ann"),
        changed("message.android.collapse_key", "gain"),
        changed("message.android.ttl", "3600s, ann"),
        changed("message.notification.body", "Ann has sent you -3 dB."),
        changed("message.notification.title", "Your hearing aids"),
        changed("message.data", {}),
        changed("more", 1),
    ],
)
def test_a_body_that_tells_more_is_noticed(body: bytes) -> None:
    with pytest.raises(TooMuchTold):
        pointer_in(body, [])


def test_a_secret_that_looks_like_a_pointer_is_noticed_and_named() -> None:
    with pytest.raises(TooMuchTold, match=POINTER):
        pointer_in(BODY, ["ann", POINTER])


async def test_the_service_keeps_what_a_server_with_its_settings_sends() -> None:
    async with PushService() as service:
        config = config_from(service.settings)
        assert config.push_address is not None
        async with aiohttp.ClientSession() as http:
            for body in (b"one", b"two"):
                async with http.post(config.push_address.send_url, data=body) as answer:
                    assert answer.status == 201
        assert list(service.bodies) == [b"one", b"two"]
        assert await service.first_after(1) == b"two"
    with pytest.raises(RuntimeError, match="not open"):
        _ = PushService().settings
