"""No text of a client has a NUL character: PostgreSQL could not keep it, and would be tried again for ever."""

import re
from collections.abc import Iterator
from inspect import signature
from typing import Any, get_type_hints

import msgspec
import pytest
from msgspec import inspect

from clients.hub_errors import HubCallError
from protocol.contract.base import Answer
from protocol.contract.devices import AcquireLease, LeaseAnswer
from protocol.contract.fitting import SubmitAnswer
from protocol.contract.pushes import ANSWERS
from protocol.contract.sessions import StealLease
from protocol.errors import Unauthenticated
from signaling.hub import declared_methods
from signaling.hubs.care_hub import CareHub
from signaling.rest.catalogue import RESOURCES
from signaling.rest.house import routes_of
from tests.signaling.care import Connect, change
from tests.signaling.conftest import House
from tests.signaling.visit import visit


def said_by_clients() -> Iterator[Any]:
    """The type of everything that a client sends."""
    for method, _ in declared_methods(CareHub).values():
        hints = get_type_hints(method, include_extras=True)
        yield from (hints[name] for name in list(signature(method).parameters)[2:])
    yield from ANSWERS.values()
    yield from (route.body for route in routes_of(RESOURCES) if route.body is not None)


def texts(kind: object, path: str, seen: set[object]) -> Iterator[tuple[str, inspect.StrType]]:
    """Every text within a type."""
    if isinstance(kind, inspect.StrType):
        yield path, kind
        return
    if isinstance(kind, inspect.StructType):
        if kind.cls in seen:
            return
        seen.add(kind.cls)
        for field in kind.fields:
            yield from texts(field.type, f"{kind.cls.__name__}.{field.encode_name}", seen)
        return
    for name in getattr(kind, "__struct_fields__", ()):
        part = getattr(kind, name)
        for one in part if isinstance(part, tuple) else (part,):
            if isinstance(one, inspect.Type):
                yield from texts(one, path, seen)


def test_no_text_of_the_contract_takes_one() -> None:
    seen: set[object] = set()
    found = [one for kind in said_by_clients() for one in texts(inspect.type_info(kind), str(kind), seen)]
    taking = {path for path, kind in found if kind.pattern is None or re.search(kind.pattern, "a\0b")}
    assert {path for path, _ in found} > {"Submit.reason", "StealLease.reason", "RegisteredAid.firmware"}
    assert taking == set()


async def test_a_reason_with_one_is_a_bad_argument(connect: Connect) -> None:
    here = await visit(connect)
    requests: tuple[tuple[str, msgspec.Struct, type[Answer]], ...] = (
        ("Submit", change(here.leased, reason="a\0b"), SubmitAnswer),
        ("StealLease", StealLease(device="d1", session="s2", reason="a\0b", idempotency_key="k"), LeaseAnswer),
    )
    for method, request, answer in requests:
        with pytest.raises(HubCallError, match=r"^\[bad_argument\] .*`\$\.reason`"):
            await here.ann.ask(method, request, answer=answer)
    # Nothing of it was kept: the same key may stand for the same without it.
    assert isinstance(await here.ann.ask("Submit", change(here.leased), answer=SubmitAnswer), SubmitAnswer)
    leased = await here.ann.ask("AcquireLease", AcquireLease(device="d1", session="s1"), answer=LeaseAnswer)
    assert isinstance(leased, LeaseAnswer)
    assert leased.fence == here.leased.fence


async def test_a_registration_with_one_is_a_bad_request(house: House) -> None:
    aid = {"serial": "R-1", "model": "ref10", "firmware": "2\0"}
    body = {"device": "d9", "patient": "pat", "right": aid}
    async with house.http.post(f"{house.url}/api/v1/devices", json=body, headers=house.bearer("ann")) as answer:
        assert answer.status == 400


@pytest.mark.parametrize(("user", "clinic"), [("ann\0", "c1"), ("ann", "c\0")])
def test_a_token_of_a_name_with_one_is_none(house: House, user: str, clinic: str) -> None:
    with pytest.raises(Unauthenticated):
        house.tokens.verify(house.token(user, clinic=clinic))
