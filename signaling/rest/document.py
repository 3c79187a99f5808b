"""``GET /openapi.json``: what this server serves, for anybody who wants to know; it says nothing of anybody."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version

import msgspec
from aiohttp import web

from .openapi import openapi
from .resource import Resource

__all__ = ["PATH", "register_document"]

PATH = "/openapi.json"


def register_document(app: web.Application, resources: Sequence[type[Resource]]) -> None:
    """Serve the document of resources. It is made when it is first asked for: a start should not wait for it."""

    @cache
    def document() -> bytes:
        return msgspec.json.encode(openapi(resources, version=version("auricle")))

    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=document(), content_type="application/json", headers={"Cache-Control": "no-store"})

    app.router.add_get(PATH, handle)
