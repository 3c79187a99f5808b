"""Asking over REST in tests: one line a request, and what came of it."""

from dataclasses import dataclass
from typing import Any

from tests.signaling.conftest import House

__all__ = ["AID", "Said", "ask", "register"]

AID = {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"}


@dataclass(frozen=True)
class Said:
    """One answer; ``tag`` is its entity tag."""

    status: int
    body: Any
    tag: str
    retry_after: str

    @property
    def code(self) -> str:
        """The code of a problem."""
        assert self.status >= 400, self
        return str(self.body["code"])


async def ask(
    house: House, route: str, body: Any = None, *, by: str = "ann clinician", clinic: str = "c1", **headers: str
) -> Said:
    """``route`` is like ``GET /patients``; ``by`` a user and his roles. Headers are named as in ``If_Match="..."``."""
    method, _, path = route.partition(" ")
    user, *roles = by.split()
    sent = house.bearer(user, *roles, clinic=clinic) | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    async with house.http.request(method, f"{house.url}/api/v1{path}", json=body, headers=sent) as answer:
        told = await answer.json(content_type=None)
        return Said(answer.status, told, answer.headers.get("ETag", ""), answer.headers.get("Retry-After", ""))


async def register(
    house: House, device: str = "d1", *, by: str = "ann clinician", clinic: str = "c1", **more: Any
) -> None:
    """A device of patient pat, which ann and abe may fit."""
    body = {"device": device, "patient": "pat", "assignments": ["ann", "abe"], "right": AID} | more
    said = await ask(house, "POST /devices", body, by=by, clinic=clinic)
    assert said.status == 201, said
