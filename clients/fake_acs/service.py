"""The service on a port: who may come in, how fast, and which part answers. Read ``FakeAcs.take`` first.

What stands below ``/fake`` is no part of Azure: the switches with which tests and people make trouble.
"""

import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from . import chat, identity, rooms
from .answers import Breach, refusal
from .certificates import throw_away
from .entra import Directory
from .event_tokens import event_claims
from .events import EventGrid
from .faults import Faults
from .request import Asked, Reply, check_version
from .signing import Signed, check_signature
from .state import Resource
from .switches import flip
from .throttle import Throttle
from .tokens import UserToken, opened

__all__ = ["FakeAcs", "fake_acs"]


@dataclass(slots=True)
class FakeAcs:
    """One resource. ``asked``: method and area of each request, the newest last; ``breaches``: what was wrong.

    ``local_auth``: whether access keys are good at all; hospitals turn them off. ``event_token_version``: 1 or 2.
    """

    clock: Callable[[], float] = time.time
    resource: Resource = field(default_factory=Resource)
    directory: Directory = field(default_factory=Directory)
    throttle: Throttle = field(default_factory=Throttle)
    faults: Faults = field(default_factory=Faults)
    events: EventGrid = field(default_factory=EventGrid)
    local_auth: bool = True
    event_token_version: int = 1
    url: str = ""
    ca: Path = Path()
    asked: list[str] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Event Grid's tokens are of the directory."""
        self.events.sign = self.event_token

    def event_token(self, audience: str, **changes: Any) -> str:
        """What Event Grid shows to an application, now; ``changes`` to its claims, None takes one away."""
        directory = self.directory
        claims = event_claims(directory.tenant, self.url, audience, self.clock(), version=self.event_token_version)
        return directory.signing.token({k: v for k, v in {**claims, **changes}.items() if v is not None})

    @property
    def discovery(self) -> str:
        """The address of the document that says where the directory's keys are."""
        return f"{self.url}/{self.directory.tenant}/v2.0/.well-known/openid-configuration"

    @property
    def connection_string(self) -> str:
        """As the portal shows it."""
        return f"endpoint={self.url}/;accesskey={self.resource.keys[0]}"

    async def take(self, request: web.Request) -> web.StreamResponse:
        """One request: kept, checked, answered."""
        body = await request.read()
        path = unquote(request.raw_path.partition("?")[0])
        asked = Asked(
            request.method, tuple(path.strip("/").split("/")), dict(request.query), request.headers, body, self.clock()
        )
        try:
            if asked.parts[0] == "fake":
                return _web(await flip(self, asked))
            self._note(asked)
            troubled = await self.faults.meet(request)
            if troubled is not None:
                return troubled
            given = self.directory.answer(asked, self.url)
            reply = self._answer(request, asked) if given is None else given
            return web.Response() if self.faults.loses(request) else _web(reply)
        except Breach as breach:
            self.breaches.append(f"{asked.method} {asked.parts[0]} {breach.status} {breach}")
            del self.breaches[:-1_000]
            return refusal(breach)

    def _note(self, asked: Asked) -> None:
        last = asked.parts[-1] if asked.parts[-1].startswith(":") else ""
        area = "chat/" + asked.parts[3] if asked.parts[0] == "chat" and len(asked.parts) > 3 else asked.parts[0]
        self.asked.append(f"{asked.method} {area}{last}")
        del self.asked[:-10_000]

    def _answer(self, request: web.Request, asked: Asked) -> Reply:
        """Raises Breach. Assumed: the order in which faults are found."""
        area = asked.parts[0]
        if area not in ("identities", "rooms", "chat"):
            raise Breach(404, "NotFound", "no such resource")
        check_version(asked)
        if area == "chat":
            user = opened(self.resource, asked.headers.get("Authorization", ""), asked.now_s)
            self._throttled("chat", asked)
            return self._chat(asked, user)
        self._check_key(request, asked)
        self._throttled(identity.operation(asked) if area == "identities" else "rooms", asked)
        if area == "rooms":
            return rooms.answer(self.resource, asked)
        return identity.answer(self.resource, asked)

    def _chat(self, asked: Asked, user: UserToken) -> Reply:
        reply = chat.answer(self.resource, asked, user, self.url)
        if asked.method == "POST" and asked.parts[-1] == "messages":
            thread = self.resource.threads[asked.parts[2]]
            self.events.written(thread, thread.messages[-1])
        return reply

    def _check_key(self, request: web.Request, asked: Asked) -> None:
        header = asked.headers.get("Authorization", "")
        if header.startswith("Bearer "):
            if not self.directory.takes(header, asked.now_s):
                raise Breach(401, "Unauthorized", "the token is none of the directory, or has ended")
            return
        if not self.local_auth:
            raise Breach(401, "Denied", "Denied by the resource provider: local authentication is off")
        signed = Signed(asked.method, request.raw_path, asked.headers, asked.body)
        check_signature(signed, self.resource.keys, asked.now_s)

    def _throttled(self, operation: str, asked: Asked) -> None:
        wait_s = self.throttle.admit(operation, asked.now_s)
        if wait_s:
            # Public: 429. Read: the SDKs look for Retry-After, in whole seconds.
            headers = {"Retry-After": str(-int(-wait_s // 1))}
            raise Breach(429, "TooManyRequests", "too many requests", headers=headers)


def _web(reply: Reply) -> web.Response:
    if reply.body is None:
        return web.Response(status=reply.status)
    return web.json_response(reply.body, status=reply.status)


@asynccontextmanager
async def fake_acs(
    service: FakeAcs | None = None, *, host: str = "127.0.0.1", port: int = 0, folder: Path | None = None
) -> AsyncIterator[FakeAcs]:
    """The service, over https, with a certificate by an authority of its own: ``ca`` is the file to trust."""
    service = service or FakeAcs()
    with tempfile.TemporaryDirectory(prefix="fake-acs-") as own:
        made = throw_away(folder or Path(own))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.certificate, made.key)
        app = web.Application(client_max_size=262_144)
        app.router.add_route("*", "/{rest:.*}", service.take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, ssl_context=context).start()
            service.url = f"https://{host}:{runner.addresses[0][1]}"
            service.ca = made.ca
            yield service
        finally:
            service.faults.clear()
            await service.events.close()
            # A peer that is gone does not say goodbye, which TLS would wait for.
            for handler in runner.server.connections if runner.server is not None else ():
                if handler.transport is not None:
                    handler.transport.abort()
            await runner.cleanup()
