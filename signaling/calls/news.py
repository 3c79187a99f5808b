"""What people hear of a call, as messages to their connections.

``media.telling`` says who must hear what. Must not know why a call has changed, nor who finds that out. Read
``CallNews.everywhere`` first.
"""

from collections.abc import Callable

from media.call import Call
from media.call_relay import recording_state
from media.telling import Changed, Over, Ring, StopRinging, Telling, standing, told
from protocol.contract.calls import AnsweredElsewhere, CallChanged, CallEnded, IncomingCall
from signaling.hub_clients import Audience, HubClients
from signaling.pushes import push

__all__ = ["CallNews"]


class CallNews:
    """``now_s`` is Unix time."""

    def __init__(self, clients: HubClients, now_s: Callable[[], float]) -> None:
        self._clients = clients
        self._now_s = now_s

    def everywhere(self, before: Call | None, after: Call) -> None:
        """To all whom a change concerns, on any pod. ``before`` is None for a new call."""
        for one in told(before, after):
            self._tell(one, after, self._clients.user, self._clients.connection_anywhere)

    def here(self, before: Call, after: Call) -> None:
        """To those of this pod alone whom it concerns."""
        for one in told(before, after):
            self._tell(one, after, self._clients.user_here, self._clients.connection_here)

    def standing_here(self, call: Call) -> None:
        """To those of this pod: how the call is now, whatever they have heard of it."""
        for one in standing(call):
            self._tell(one, call, self._clients.user_here, self._clients.connection_here)

    def _tell(
        self,
        one: Telling,
        call: Call,
        person: Callable[[str, str], Audience],
        connection: Callable[[str], Audience],
    ) -> None:
        visit, call_id = call.visit, call.call_id
        if isinstance(one, Ring):
            for_ms = max(0, round((one.until_s - self._now_s()) * 1_000))
            ringing = IncomingCall(
                visit=visit, call_id=call_id, caller=call.legs[0].user, media=call.media, ring_for_ms=for_ms
            )
            push(person(one.user, call.clinic), ringing)
        elif isinstance(one, StopRinging):
            push(person(one.user, call.clinic).excluding(one.but), AnsweredElsewhere(visit=visit, call_id=call_id))
        elif isinstance(one, Changed):
            for each in one.connections:
                push(connection(each), _changed(call))
        elif isinstance(one, Over):
            for user in one.users:
                push(person(user, call.clinic), CallEnded(visit=visit, call_id=call_id, reason=one.reason))


def _changed(call: Call) -> CallChanged:
    return CallChanged(
        visit=call.visit,
        call_id=call.call_id,
        state=call.state,
        peers=call.peers(),
        backend=call.backend,
        recording=recording_state(call),
    )
