"""Requests for connections that are on other pods, and what other pods bring of theirs for connections that are here.

Knows neither how a connection is found (``pods.whereabouts``) nor how a request is carried (``forward``), only when.
Read ``Elsewhere.answer`` first.
"""

from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web

from protocol.errors import Overloaded
from signaling.bearer import shown_token
from signaling.connection_token import ConnectionTicket
from signaling.health import Readiness
from signaling.pods.internal import asked_of
from signaling.pods.owners import Owners
from signaling.pods.whereabouts import Whereabouts

from .forward import Errand, Forwarder, Kind, hub_route
from .guard import UNKNOWN, Refuse, full, refuse

__all__ = ["Elsewhere"]


class Elsewhere:
    """What the routes of all hubs of a pod know of other pods."""

    def __init__(self, whereabouts: Whereabouts, owners: Owners, forwarder: Forwarder, readiness: Readiness) -> None:
        self._whereabouts = whereabouts
        self._owners = owners
        self._forwarder = forwarder
        self._readiness = readiness

    def on_question(self, holds: Callable[[str], bool]) -> None:
        """Have ``holds`` asked whether a connection is here, or was."""
        self._whereabouts.holds.append(holds)

    async def answer(
        self,
        request: web.Request,
        ticket: ConnectionTicket,
        token: str,
        kind: Kind,
        *,
        opens: bool,
        form: Refuse = refuse,
    ) -> web.StreamResponse | None:
        """What the pod answers that has the connection; None: that is this one, or would be.

        ``opens``: the request may open the connection if nobody has it.
        """
        where, draining = self._whereabouts, self._readiness.draining
        try:
            pod = await where.owner(ticket, adopt=opens and not draining, is_last=asked_of(request) is not None)
        except Overloaded:
            return full()
        if pod is None and opens and draining:
            pod = where.another(ticket)
        if pod is None or pod == where.pod:
            return None
        if asked_of(request) is not None:
            # One hop only: whoever sent this here knows less than we do.
            return form(HTTPStatus.NOT_FOUND, UNKNOWN, None)
        shown = {"Authorization": f"Bearer {shown_token(request)}"}
        answer = await self.carry(request, Errand(pod, hub_route(ticket.hub), token, kind, shown, form))
        if answer.status == HTTPStatus.NOT_FOUND:
            where.forget(ticket.connection_id)
        return answer

    async def carry(self, request: web.Request, errand: Errand) -> web.StreamResponse:
        """What that pod answers; not to what was carried here already."""
        return await self._forwarder.forward(request, errand)

    def keep(self, connection_id: str) -> None:
        """The connection is here, and may be asked for anywhere as long as it lives."""
        self._owners.keep(connection_id)

    def leave(self, connection_id: str) -> None:
        """It has ended."""
        self._owners.leave(connection_id)
