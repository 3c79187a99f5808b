"""How the service says no: a status, and ``{"error": {"code", "message"}}``, as the SDKs read it. Read ``Breach``."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from aiohttp import web

__all__ = ["Breach", "refusal"]


class Breach(Exception):
    """A request that is answered with ``status``. ``code`` is a word of the service, as far as one is known."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.headers = headers


def refusal(breach: Breach) -> web.Response:
    """Read: the shape. It says nothing of what was sent."""
    body: dict[str, Any] = {"error": {"code": breach.code, "message": str(breach)}}
    return web.json_response(body, status=breach.status, headers=dict(breach.headers))
