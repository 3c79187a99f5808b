"""On which pod a connection is, and which pod takes one that nobody has yet.

Redis tells, if it can (``Owners``). Else the pods are asked, all at once: who has it says so. One that nobody has opens
on a pod that Redis does tell, so that others find it there. If there is none, the pod that made the token decides who
opens it, and if that one cannot be reached, whoever has been asked takes it (``whose``). Read ``owner`` first.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, NamedTuple
from zlib import crc32

from aiohttp import web

from protocol.errors import Overloaded
from signaling.connection_token import ConnectionTicket

from .directory import PodDirectory
from .internal import asked_of
from .internal_client import InternalClient, PodRefused, PodSilent, PodUnreached
from .metrics import PodMetrics
from .owners import Owners, OwnersAway
from .whose import Known, Whose, whose

__all__ = ["WHOSE", "Whereabouts", "WhereaboutsParts"]

# Where pods are asked whose a connection is.
WHOSE: Final = "/whose"
CONNECTION: Final = "Auricle-Connection-Id"
# Unix time until which the asking pod would like to open it; absent: it would not.
UNTIL: Final = "Auricle-Until"
_SURE: Final = " sure"
# Asks to be told, behind that, whether who answers would open it and be found by all.
SURE: Final = "Auricle-Sure"


@dataclass(frozen=True, slots=True)
class WhereaboutsParts:
    """``answer_s``: how long pods may take to answer. ``opens``: whether this one opens connections.

    ``max_known``: connections of other pods that are remembered, and decisions about others.
    ``max_asking``: of how many the pods are asked at a time.
    """

    owners: Owners
    directory: PodDirectory
    client: InternalClient
    metrics: PodMetrics
    opens: Callable[[], bool]
    answer_s: float
    max_known: int
    max_asking: int
    clock: Callable[[], float]


class _Said(NamedTuple):
    """What a pod has said: who has it, or opens it, as far as it knows; whether it would itself be found by all."""

    owner: str
    is_sure: bool


class Whereabouts:
    """One pod's knowledge of where connections are. ``holds`` are told which ones this pod has, or has had."""

    def __init__(self, parts: WhereaboutsParts) -> None:
        self._parts = parts
        self.pod = parts.directory.pod
        self.holds: list[Callable[[str], bool]] = []
        self._asking = 0
        self._known: OrderedDict[str, str] = OrderedDict()
        # What this pod has decided while nobody else could.
        self._decided: dict[str, tuple[str, float]] = {}

    async def owner(self, ticket: ConnectionTicket, *, adopt: bool, is_last: bool = False) -> str | None:
        """The pod that has the connection; None: nobody. ``adopt``: if nobody has it, it is ours from now on.

        ``is_last``: what is asked for has been carried here, so that it is opened by this pod or by none.

        Raises:
            Overloaded: all pods would have to be asked, and are being asked for too many already.
        """
        connection_id = ticket.connection_id
        known = self._known.get(connection_id)
        if known is not None:
            self._known.move_to_end(connection_id)
            return known
        owners = self._parts.owners
        found = await (owners.claim(connection_id) if adopt else owners.find(connection_id))
        if isinstance(found, OwnersAway) or found is None:
            found = await self._ask_all(ticket, adopt=adopt, is_last=is_last)
            if adopt and found == self.pod:
                # Those who believe Redis already, or soon will, ask nobody.
                taken = await owners.take(connection_id)
                found = found if isinstance(taken, OwnersAway) else taken
        if found is not None and found != self.pod:
            self._remember(connection_id, found)
        return found

    def another(self, ticket: ConnectionTicket) -> str | None:
        """A pod that may open a connection which this one does not open any more."""
        others = [pod for pod in self._parts.directory.pods() if pod != self.pod and self.is_there(pod)]
        if ticket.pod in others or not others:
            return ticket.pod if ticket.pod in others else None
        return _one_of(others, ticket)

    def is_there(self, pod: str) -> bool:
        """Whether a pod is believed alive, and reached somewhere."""
        return self._parts.directory.address_of(pod) is not None

    def forget(self, connection_id: str) -> None:
        """The pod that had it is gone, or has it no more."""
        self._known.pop(connection_id, None)

    def sweep(self) -> None:
        """Forget decisions about tokens that open nothing any more."""
        now_s = self._parts.clock()
        for one in [one for one, (_, until_s) in self._decided.items() if until_s < now_s]:
            del self._decided[one]

    async def answer(self, request: web.Request) -> web.Response:
        """What another pod is told that asks whose a connection is."""
        asked, connection_id = asked_of(request), request.headers.get(CONNECTION, "")
        owner = ""
        if asked is not None and any(holds(connection_id) for holds in self.holds):
            owner = self.pod
        elif asked is not None and UNTIL in request.headers:
            owner = self._decide(connection_id, asked.sender, float(request.headers[UNTIL]))
        if SURE in request.headers and self._parts.owners.are_sure and self._parts.opens():
            owner += _SURE
        return web.Response(text=owner)

    async def _ask_all(self, ticket: ConnectionTicket, *, adopt: bool, is_last: bool) -> str | None:
        if self._asking >= self._parts.max_asking:
            self._parts.metrics.reached("max_owner_questions")
            raise Overloaded("too many connections are looked for")
        self._asking += 1
        try:
            return await self._ask(ticket, adopt=adopt, is_last=is_last)
        finally:
            self._asking -= 1

    async def _ask(self, ticket: ConnectionTicket, *, adopt: bool, is_last: bool) -> str | None:
        others = [pod for pod in self._parts.directory.pods() if pod != self.pod and self.is_there(pod)]
        said: dict[str, _Said] = {}
        async with asyncio.TaskGroup() as asking:
            for pod in others:
                asking.create_task(self._ask_one(pod, ticket, said, adopt=adopt and pod == ticket.pod))
        had_by = next((pod for pod, one in said.items() if one.owner == pod), None)
        sure = [pod for pod, one in said.items() if one.is_sure]
        decided = said[ticket.pod].owner if ticket.pod in said else ""
        known = Known(
            is_had=had_by is not None,
            may_open=adopt,
            is_last=is_last,
            is_hidden=bool(sure) and not self._parts.owners.are_sure,
            maker="this" if ticket.pod == self.pod else "has decided" if decided else "silent",
        )
        match whose(known):
            case Whose.THEIRS:
                return had_by
            case Whose.NOBODYS:
                return None
            case Whose.OURS:
                return self.pod
            case Whose.FOUND_BY_ALL:
                return _one_of(sure, ticket)
            case Whose.DECIDED_HERE:
                return self._decide(ticket.connection_id, self.pod, ticket.open_until_s)
            case Whose.DECIDED_THERE:
                return decided

    async def _ask_one(self, pod: str, ticket: ConnectionTicket, said: dict[str, _Said], *, adopt: bool) -> None:
        parts = self._parts
        address = parts.directory.address_of(pod)
        headers = {CONNECTION: ticket.connection_id, SURE: "?"}
        if adopt:
            headers[UNTIL] = str(ticket.open_until_s)
        if address is None:
            return
        try:
            async with parts.client.ask(
                address, "POST", WHOSE, to=pod, timeout_s=parts.answer_s, headers=headers
            ) as answer:
                if answer.status != HTTPStatus.OK:
                    raise PodRefused
                told = (answer.body or b"").decode()
        except PodUnreached as error:
            parts.metrics.unreached.inc()
            if isinstance(error, PodSilent):
                parts.metrics.reached("owner_answer_s")
        else:
            said[pod] = _Said(told.removesuffix(_SURE), told.endswith(_SURE))

    def _decide(self, connection_id: str, pod: str, until_s: float) -> str:
        """Whoever asks first opens it."""
        decided = self._decided
        if connection_id not in decided and len(decided) >= self._parts.max_known:
            del decided[next(iter(decided))]
            self._parts.metrics.reached("max_known_owners")
        return decided.setdefault(connection_id, (pod, until_s))[0]

    def _remember(self, connection_id: str, pod: str) -> None:
        self._known[connection_id] = pod
        if len(self._known) > self._parts.max_known:
            self._known.popitem(last=False)
            self._parts.metrics.reached("max_known_owners")


def _one_of(pods: Sequence[str], ticket: ConnectionTicket) -> str:
    """The same one for each request of a connection."""
    return min(pods, key=lambda pod: crc32(f"{pod} {ticket.connection_id}".encode()))
