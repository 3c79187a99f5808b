"""Which notifier a configuration makes, what of it is refused, and what the one that sends nothing says."""

import pytest

from fitting.push_messages import MAX_TEXT_CHARS
from signaling.config import Config, ConfigError, config_from
from signaling.push_hub import HubPush
from signaling.push_notifier import LogPush
from tests.signaling.push_desk import ANDROID, APPLE, PACKAGE, QUESTION, hub_desk, log_desk

KEY = "pAsSw0rd+/AAAA="
FIELDS = "push_connection_string, push_hub, push_url: "
WHOLE = f"Endpoint=sb://clinic.servicebus.windows.net/;SharedAccessKeyName=sender;SharedAccessKey={KEY}"
HUB = {"push_connection_string": WHOLE, "push_hub": "phones"}


async def test_a_hub_that_is_configured_is_used_and_otherwise_the_log() -> None:
    async with hub_desk() as hub, log_desk() as log:
        assert isinstance(hub.notifier, HubPush)
        assert isinstance(log.notifier, LogPush)


async def test_a_push_that_is_only_logged_says_so() -> None:
    async with log_desk() as desk:
        await desk.notifier.send(ANDROID, PACKAGE)
        await desk.notifier.send(APPLE, QUESTION)
        told = [{name: line[name] for name in ("event", "platform", "kind")} for line in desk.lines()]
        assert told == [
            {"event": "push_logged", "platform": "fcm", "kind": "package"},
            {"event": "push_logged", "platform": "apns", "kind": "question"},
        ]
        assert desk.count("auricle_push_total", platform="apns", outcome="logged") == 1
        assert desk.service.asked == []


def test_a_hub_is_read_from_the_environment() -> None:
    environ = {"AURICLE_PUSH_CONNECTION_STRING": WHOLE, "AURICLE_PUSH_HUB": "phones", "AURICLE_PUSH_TEXT": "Hello"}
    config = config_from(environ)
    assert config.push_address is not None
    assert (config.push_address.key, config.push_address.hub, config.push_text) == (KEY, "phones", "Hello")
    assert Config().push_address is None


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"push_connection_string": WHOLE}, f"{FIELDS}the name of the hub"),
        ({"push_hub": "phones"}, f"{FIELDS}Endpoint is missing"),
        ({"push_connection_string": KEY, "push_hub": "phones"}, FIELDS),
        ({"push_url": "https://push.example"}, f"{FIELDS}Endpoint is missing"),
        ({**HUB, "push_url": "http://push.example"}, f"{FIELDS}the url must be "),
        ({**HUB, "push_url": "http://127.0.0.1.example"}, f"{FIELDS}the url must be "),
        ({**HUB, "push_url": "https://push.example/"}, f"{FIELDS}the url must be "),
        ({**HUB, "push_url": "https://user:secret@push.example"}, f"{FIELDS}the url must be "),
        ({**HUB, "push_url": "push.example"}, f"{FIELDS}the url must be "),
        ({"push_text": ""}, "push_text: "),
        ({"push_text": "a\nb"}, "push_text: "),
        ({"push_text": "a" * (MAX_TEXT_CHARS + 1)}, "push_text: "),
    ],
)
def test_what_cannot_work_is_refused_at_start_and_no_key_is_quoted(changes: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"^{complaint}") as refused:
        Config(**changes)  # type: ignore[arg-type]  # the fields named here are all texts
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["https://push.example", "https://10.0.0.7:8443", "https://[2001:db8::7]", "http://localhost:9", "http://[::1]:9"],
)
def test_a_hub_may_be_reached_elsewhere_than_at_its_own_endpoint(url: str) -> None:
    environ = {"AURICLE_PUSH_CONNECTION_STRING": WHOLE, "AURICLE_PUSH_HUB": "phones", "AURICLE_PUSH_URL": url}
    address = config_from(environ).push_address
    assert address is not None
    assert address.send_url.startswith(f"{url}/phones/messages/?direct")
    assert address.resource == "https://clinic.servicebus.windows.net/phones"


def test_the_connection_string_is_not_shown() -> None:
    assert KEY not in repr(Config(push_connection_string=WHOLE, push_hub="phones"))
