"""Whatever is not the caller's looks like what there is not: every route, every role, to the last header."""

import json
from typing import Any, get_args

import pytest

from signaling.auth import Role
from signaling.rest.catalogue import RESOURCES
from signaling.rest.house import routes_of
from signaling.rest.resource import Route
from tests.signaling.conftest import House
from tests.signaling.rest.desk import ask, register
from tests.signaling.visiting import MIA, scheduled

ROUTES = [route for route in routes_of(RESOURCES) if route.rule.object_field is not None]
KNOWN = {"device": "d1", "patient": "pat", "person": "abe", "scope": "video", "audiogram": "registered"}
VISIT = {"visit": "v1", "participant": "p3"}
REST = {"revision": "r1", "seq": "1"}
# Who they are, and what they have to do with device d1 of patient pat in clinic c1: nothing.
STRANGERS = [("ann", "c2"), ("pat", "c2"), ("amy", "c1"), ("abe", "c1")]


def path_of(route: Route, **ids: str) -> str:
    return route.path.format(**{**KNOWN, **VISIT, **REST, **ids})


async def told(house: House, route: Route, path: str, asked: tuple[str, str, str]) -> Any:
    who, clinic, role = asked
    headers = house.bearer(who, role, clinic=clinic) | {"If-Match": '"1"'}
    data = None
    if route.body is not None:
        headers["Content-Type"] = route.told.accepts
        data = json.dumps(route.told.body_example)
    async with house.http.request(route.method, house.url + path, data=data, headers=headers) as answer:
        said = {name: value for name, value in answer.headers.items() if name != "Date"}
        return answer.status, said, await answer.read()


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_it_looks_like_what_there_is_not(house: House, route: Route) -> None:
    await register(house, audiogram={"right": {"500": 10, "1000": 10, "2000": 15, "4000": 30}})
    # One who was there, and is not any more.
    assert (await ask(house, "GET /devices/d1", by="abe clinician")).status == 200
    assert (await ask(house, "DELETE /devices/d1/assignments/abe", {"reason": "has left"})).status == 200
    await scheduled(house, MIA)
    named = route.rule.object_field
    assert named is not None
    for who, clinic in STRANGERS:
        for role in get_args(Role):
            # Whoever is called so in another clinic is a patient of that one.
            is_himself = (who, role, named) == ("pat", "patient", "patient")
            if is_himself or (clinic == "c1" and (role, named) in WITHIN_THE_CLINIC.get(route.key, ())):
                continue
            asked = (who, clinic, role)
            theirs = await told(house, route, path_of(route), asked)
            unknown = await told(house, route, path_of(route, **{named: "nobody"}), asked)
            assert theirs == unknown, (asked, theirs, unknown)
            assert theirs[0] in (403, 404), (asked, theirs)


# What every professional of the clinic, or its admin, may.
_ADMIN = (("admin", "device"),)
_STAFF = (("clinician", "patient"), ("assistant", "patient"))
WITHIN_THE_CLINIC: dict[str, tuple[tuple[str, str], ...]] = {
    "GET /api/v1/devices/{device}/assignments": _ADMIN,
    "PUT /api/v1/devices/{device}/assignments/{person}": _ADMIN,
    "DELETE /api/v1/devices/{device}/assignments/{person}": _ADMIN,
    "GET /api/v1/patients/{patient}": _STAFF,
    "PUT /api/v1/patients/{patient}": _STAFF,
    "DELETE /api/v1/patients/{patient}/acs-identity": _STAFF,
}
