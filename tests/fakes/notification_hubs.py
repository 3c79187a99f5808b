"""Azure Notification Hubs as a server on loopback: direct sends only, checked as the service and the platforms would.

It stands in for what cannot be had in a test, and is stricter than the service: what it lets pass must be right. It
keeps what it got, so that tests can look for what must not be in it. Where each rule comes from stands beside it:

- read in Microsoft's REST reference (direct send, FCM and APNs native notifications), its page on iOS 13, the sources
  of its JavaScript client, Google's reference of FCM v1 messages, Apple's on APNs requests: marked *read*;
- from memory, not checked against the living service: marked *memory*.

Read ``NotificationHubs.take`` first.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote, unquote

from aiohttp import web

__all__ = ["Asked", "Breach", "NotificationHubs", "Scripted", "notification_hubs"]

# Read: 2015-04 is the version of direct send, 2020-06 what the JavaScript client sends. Memory: those between exist.
API_VERSIONS = {"2015-04", "2016-07", "2017-04", "2020-06"}
# Read: 64 KB are too many for the service, 4 KB for APNs and FCM. That the service itself minds 4 KB is stricter.
MAX_BYTES = 4_096
# Read: the types of Apple's and the priorities of both.
PUSH_TYPES = {"alert", "background", "voip", "complication", "fileprovider", "mdm", "location", "liveactivity"}
# Read: a date of the W3C's form, without seconds.
EXPIRY = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?:Z|[+-]\d{2}:\d{2})")
TTL = re.compile(r"\d{1,7}s")
MAX_TTL_S = 2_419_200


class Breach(Exception):
    """A request that is answered with ``status``."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came: the target of its first line, its headers, its body."""

    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Scripted:
    """An answer that a test asks for; ``trouble`` in place of one: no answer ever, or a connection that breaks."""

    status: int = 201
    headers: Mapping[str, str] = field(default_factory=dict)
    detail: str = ""
    trouble: Literal["", "hang", "reset"] = ""


@dataclass(slots=True)
class NotificationHubs:
    """One namespace with one hub and one access policy that may send."""

    clock: Callable[[], float]
    namespace: str = "clinic.servicebus.windows.net"
    hub: str = "phones"
    key_name: str = "sender"
    key: str = "pAsSw0rd+/AAAA="
    url: str = ""
    # What came and what was found wrong with it; what is to be answered next, and after that always.
    asked: list[Asked] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    script: deque[Scripted] = field(default_factory=deque)
    always: Scripted | None = None
    # Tokens that are dead, with the answer for each.
    dead: dict[str, Scripted] = field(default_factory=dict)
    at_once: int = 0
    most_at_once: int = 0
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def connection_string(self) -> str:
        """As the portal shows it."""
        return f"Endpoint=sb://{self.namespace}/;SharedAccessKeyName={self.key_name};SharedAccessKey={self.key}"

    async def take(self, request: web.Request) -> web.StreamResponse:
        """One request: kept, checked, answered."""
        asked = Asked(request.raw_path, dict(request.headers), await request.read())
        self.asked.append(asked)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._answer(request, asked)
        finally:
            self.at_once -= 1

    async def _answer(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        scripted = self.script.popleft() if self.script else self.always
        if scripted is not None and scripted.trouble == "hang":
            await self.let_go.wait()
        if scripted is not None and scripted.trouble == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        try:
            self._check(request, asked)
        except Breach as breach:
            self.breaches.append(str(breach))
            # Memory: errors are XML with Code and Detail. Read: the JavaScript client parses them so.
            return web.Response(
                status=breach.status, text=f"<Error><Code>{breach.status}</Code><Detail>{breach}</Detail></Error>"
            )
        if scripted is None:
            scripted = self.dead.get(asked.headers["ServiceBusNotification-DeviceHandle"], Scripted())
        headers = dict(scripted.headers)
        if scripted.status == 201:
            # Read: where the outcome can be asked for, and what support asks for.
            headers |= {
                "Location": f"https://{self.namespace}/{self.hub}/messages/m-{len(self.asked)}?api-version=2015-04"
            }
            headers |= {"TrackingId": f"t-{len(self.asked)}"}
        return web.Response(status=scripted.status, headers=headers, text=scripted.detail)

    def _check(self, request: web.Request, asked: Asked) -> None:
        """Raises Breach. Read: the statuses. Memory: the order in which they are found."""
        if request.path != f"/{self.hub}/messages/":
            raise Breach(404, "No message branch at the URI")
        if request.method != "POST":
            raise Breach(405, "the method is POST")
        if "direct" not in request.query or request.query.get("api-version") not in API_VERSIONS:
            raise Breach(400, "direct and a known api-version are wanted")
        self._check_signature(asked.headers.get("Authorization", ""))
        self._check_push(asked)

    def _check_push(self, asked: Asked) -> None:
        if asked.headers.get("Content-Type") != "application/json;charset=utf-8":
            raise Breach(400, "Content-Type")
        if not asked.headers.get("ServiceBusNotification-DeviceHandle"):
            raise Breach(400, "ServiceBusNotification-DeviceHandle")
        if len(asked.body) > MAX_BYTES:
            raise Breach(413, "too large")
        try:
            body = asked.json
        except ValueError:
            raise Breach(400, "no JSON") from None
        if not isinstance(body, dict):
            raise Breach(400, "no JSON object")
        kind = asked.headers.get("ServiceBusNotification-Format")
        if kind == "apple":
            _check_apns(asked.headers, body)
        elif kind == "FcmV1":
            _check_fcm(body)
        else:
            # Read: gcm is what the service calls the protocol that Google has switched off.
            raise Breach(400, "ServiceBusNotification-Format")

    def _check_signature(self, header: str) -> None:
        """Read: the form, in Microsoft's clients. Memory: a signature for the whole namespace is good for its hubs."""
        scheme, _, rest = header.partition(" ")
        parts = dict(part.partition("=")[::2] for part in rest.split("&"))
        if scheme != "SharedAccessSignature" or set(parts) != {"sr", "sig", "se", "skn"}:
            raise Breach(401, "no shared access signature")
        namespace = f"https://{self.namespace}"
        if parts["sr"] not in {quote(uri.lower(), safe="").lower() for uri in (namespace, f"{namespace}/{self.hub}")}:
            raise Breach(401, "the signature is for something else")
        signed = f"{parts['sr']}\n{parts['se']}".encode()
        expected = base64.b64encode(hmac.new(self.key.encode(), signed, hashlib.sha256).digest()).decode()
        if unquote(parts["skn"]) != self.key_name or unquote(parts["sig"]) != expected:
            raise Breach(401, "the signature is wrong")
        if int(parts["se"]) <= self.clock():
            raise Breach(401, "the signature has expired")


def _check_apns(headers: Mapping[str, str], body: dict[str, Any]) -> None:
    """Read: Apple's headers, which pass through the service; it drops a push whose type does not fit its content."""
    if not isinstance(body.get("aps"), dict):
        raise Breach(400, "aps")
    if headers.get("apns-push-type") not in PUSH_TYPES:
        raise Breach(400, "apns-push-type")
    if (headers["apns-push-type"] == "alert") != ("alert" in body["aps"]):
        raise Breach(400, "apns-push-type does not fit")
    if headers.get("apns-priority") not in ("5", "10"):
        raise Breach(400, "apns-priority")
    if not 0 < len(headers.get("apns-collapse-id", "").encode()) <= 64:
        raise Breach(400, "apns-collapse-id")
    if not EXPIRY.fullmatch(headers.get("ServiceBusNotification-Apns-Expiry", "")):
        raise Breach(400, "ServiceBusNotification-Apns-Expiry")


def _check_fcm(body: dict[str, Any]) -> None:
    """Read: Google's reference; values of ``data`` are strings, a ttl ends in s, the service puts the token in."""
    message = body.get("message")
    if set(body) != {"message"} or not isinstance(message, dict) or {"token", "topic", "condition"} & set(message):
        raise Breach(400, "message")
    android = message.get("android", {})
    if not set(message) <= {"notification", "android", "data"} or not isinstance(android, dict):
        raise Breach(400, "a field of message")
    if not set(android) <= {"collapse_key", "priority", "ttl", "notification", "data", "restricted_package_name"}:
        raise Breach(400, "a field of android")
    if not all(isinstance(value, str) for value in android.get("data", {}).values()):
        raise Breach(400, "data")
    if android.get("priority") not in (None, "HIGH", "NORMAL"):
        raise Breach(400, "priority")
    ttl = android.get("ttl", "0s")
    if not TTL.fullmatch(ttl) or int(ttl[:-1]) > MAX_TTL_S:
        raise Breach(400, "ttl")


@asynccontextmanager
async def notification_hubs(clock: Callable[[], float]) -> AsyncIterator[NotificationHubs]:
    """The service, on a free port of loopback."""
    service = NotificationHubs(clock)
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", service.take)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield service
    finally:
        service.let_go.set()
        await runner.cleanup()
