"""The page of a visit that ``serve --dev`` shows at ``/visit/``, so that a browser can be tried with nothing else.

The files are data beside the packages, never imported; what is not among them is not there. The page may load nothing
from anywhere else and talk to nobody but this server. Read ``register_page``.
"""

from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

__all__ = ["PAGE_PATH", "register_page"]

PAGE_PATH: Final = "/visit"
_FOLDER: Final = Path(__file__).parents[1] / "clients" / "web"
_KINDS: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_FILES: Final = ("index.html", "page.css", "page.js", "credentials.js", "hub.js", "call.js")
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def register_page(app: web.Application) -> None:
    """Serve the page and what it loads."""

    async def moved(_: web.Request) -> web.Response:
        # Browsers carry what is behind the # along.
        return web.Response(status=308, headers={"Location": f"{PAGE_PATH}/"})

    app.router.add_get(PAGE_PATH, moved)
    for name in _FILES:
        app.router.add_get(f"{PAGE_PATH}/{'' if name == 'index.html' else name}", _file(name))


def _file(name: str) -> Handler:
    async def file(_: web.Request) -> web.Response:
        return web.Response(
            body=(_FOLDER / name).read_bytes(),
            content_type=_KINDS[name.rpartition(".")[2]],
            charset="utf-8",
            headers=_HEADERS,
        )

    return file
