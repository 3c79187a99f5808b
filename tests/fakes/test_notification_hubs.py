"""The stand-in for Notification Hubs refuses what the service and the platforms would: what passes means something."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from fitting.notification_hubs import HubAddress, sas_token
from fitting.push import Platform, PushNote
from fitting.push_messages import native
from tests.fakes.notification_hubs import NotificationHubs, notification_hubs

NOW_S = 1_800_000_000.0
PATH = "/phones/messages/?direct&api-version=2015-04"
ADDRESS = HubAddress("https://clinic.servicebus.windows.net", "phones", "sender", "pAsSw0rd+/AAAA=")


@pytest.fixture
async def service() -> AsyncIterator[NotificationHubs]:
    async with notification_hubs(lambda: NOW_S) as service:
        yield service


async def asked(
    service: NotificationHubs,
    platform: Platform = "apns",
    *,
    path: str = PATH,
    headers: dict[str, str] | None = None,
    body: Any = None,
    method: str = "POST",
) -> int:
    """The status of a good request with some of it changed; a header that is to be empty is left out."""
    push = native(platform, PushNote("package", "p", "n", 60), text="Hello", now_s=NOW_S)
    whole = {
        "Authorization": sas_token(ADDRESS, expires_at_s=int(NOW_S) + 60),
        "Content-Type": "application/json;charset=utf-8",
        "ServiceBusNotification-Format": push.format,
        "ServiceBusNotification-DeviceHandle": "abc",
        **push.headers,
        **(headers or {}),
    }
    data = push.body if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, service.url + path, data=data, headers={k: v for k, v in whole.items() if v}) as answer,
    ):
        if answer.status == 201:
            assert answer.headers["Location"].startswith("https://clinic.servicebus.windows.net/phones/messages/")
        return answer.status


async def test_what_is_right_passes(service: NotificationHubs) -> None:
    assert [await asked(service), await asked(service, "fcm")] == [201, 201]
    assert len(service.asked) == 2


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (404, {"path": "/other/messages/?direct&api-version=2015-04"}),
        (400, {"path": "/phones/messages/?api-version=2015-04"}),
        (400, {"path": "/phones/messages/?direct"}),
        (405, {"method": "PUT"}),
        (400, {"headers": {"Content-Type": "application/json"}}),
        (400, {"headers": {"ServiceBusNotification-DeviceHandle": ""}}),
        (400, {"headers": {"ServiceBusNotification-Format": "gcm"}}),
        (400, {"headers": {"apns-push-type": ""}}),
        (400, {"headers": {"apns-push-type": "background"}}),
        (400, {"headers": {"apns-priority": "7"}}),
        (400, {"headers": {"apns-collapse-id": "n" * 65}}),
        (400, {"headers": {"ServiceBusNotification-Apns-Expiry": "1800000060"}}),
        (400, {"body": b"{"}),
        (400, {"body": []}),
        (400, {"body": {"a": "fit"}}),
        (413, {"body": {"aps": {"alert": "x" * 4_096}}}),
        (400, {"platform": "fcm", "body": {"message": {"token": "abc"}}}),
        (400, {"platform": "fcm", "body": {"message": {"android": {"data": {"n": 1}}}}}),
        (400, {"platform": "fcm", "body": {"message": {"android": {"ttl": "60"}}}}),
        (400, {"platform": "fcm", "body": {"message": {"android": {"ttl": "2419201s"}}}}),
        (400, {"platform": "fcm", "body": {"message": {"android": {"priority": "high!"}}}}),
        (400, {"platform": "fcm", "body": {"message": {"android": {"tag": "n"}}}}),
    ],
)
async def test_what_is_wrong_does_not(service: NotificationHubs, status: int, changes: dict[str, Any]) -> None:
    assert await asked(service, **changes) == status
    assert len(service.breaches) == 1


@pytest.mark.parametrize(
    ("status", "address", "ends_in_s"),
    [
        (201, ADDRESS, 1),
        (401, ADDRESS, 0),
        (401, HubAddress(ADDRESS.endpoint, "other", "sender", ADDRESS.key), 60),
        (401, HubAddress("https://other.servicebus.windows.net", "phones", "sender", ADDRESS.key), 60),
        (401, HubAddress(ADDRESS.endpoint, "phones", "other", ADDRESS.key), 60),
        (401, HubAddress(ADDRESS.endpoint, "phones", "sender", "other"), 60),
    ],
)
async def test_signatures(service: NotificationHubs, status: int, address: HubAddress, ends_in_s: int) -> None:
    token = sas_token(address, expires_at_s=int(NOW_S) + ends_in_s)
    assert await asked(service, headers={"Authorization": token}) == status


async def test_no_signature(service: NotificationHubs) -> None:
    for header in ("", "Bearer x", "SharedAccessSignature sr=x"):
        assert await asked(service, headers={"Authorization": header}) == 401
