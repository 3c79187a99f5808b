"""Engine.IO sessions of other pods: an id names the pod that has the session, so that any request may come anywhere.

Whoever opens a session has it from then on: nothing has to be asked or kept, and an id that no pod of ours has made is
carried nowhere. Must not know what is said in a session. Read ``EngineElsewhere.answer`` first.
"""

import secrets
from typing import Final

from aiohttp import web

from protocol.errors import NotFound
from signaling.connection_token import ConnectionTokens, new_connection_id
from signaling.pods.internal import asked_of

from .elsewhere import Elsewhere
from .forward import Errand, Kind
from .guard import Refuse

__all__ = ["CONTENT_TYPE", "ROUTE", "EngineElsewhere"]

# Where a pod is asked for its sessions.
ROUTE: Final = "/engineio"
# What the body of a carried POST says that it is.
CONTENT_TYPE: Final = "Auricle-Content-Type"
# In the place of a hub's name and of a person: who it is comes later, and is no one's business here.
_OF_NO_HUB: Final = "engine.io"
_NOBODY: Final = ""
_KINDS: Final = {"GET": Kind.POLL, "POST": Kind.POST}


class EngineElsewhere:
    """Makes ids, and reaches the pods that they name."""

    def __init__(self, tokens: ConnectionTokens, elsewhere: Elsewhere) -> None:
        self._tokens = tokens
        self._elsewhere = elsewhere

    def new_sid(self) -> str:
        """An id of a session of this pod; nobody can guess one."""
        connection_id = new_connection_id(secrets.token_bytes)
        return self._tokens.issue(connection_id=connection_id, hub=_OF_NO_HUB, owner=_NOBODY)

    async def answer(
        self, request: web.Request, sid: str, *, is_websocket: bool, unknown: Refuse
    ) -> web.StreamResponse | None:
        """What the pod answers that has the session; None: it is none of another pod.

        ``unknown`` makes the refusals that are ours.
        """
        kind = Kind.SOCKET if is_websocket else _KINDS.get(request.method)
        pod = self._pod_of(sid)
        if kind is None or pod is None or pod == self._tokens.pod or asked_of(request) is not None:
            # One hop only: what was carried is for a session that has ended.
            return None
        headers = {CONTENT_TYPE: request.content_type} if kind is Kind.POST else {}
        return await self._elsewhere.carry(request, Errand(pod, ROUTE, sid, kind, headers, unknown))

    def _pod_of(self, sid: str) -> str | None:
        try:
            return self._tokens.open(sid, hub=_OF_NO_HUB, owner=_NOBODY).pod
        except NotFound:
            return None
