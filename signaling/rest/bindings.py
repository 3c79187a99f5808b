"""The two ends of binding a phone: the professional who makes a code, and the phone that uses it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar

from msgspec import UNSET

from protocol.contract.base import Failure, Id
from protocol.contract.people import Bind, BindCodeMade, Bound, MakeBindCode
from signaling.flows.binding import BindingFlow
from signaling.policy import Relation, Rule

from .resource import Call, Resource, route

__all__ = ["Bindings"]


class Bindings(Resource):
    """Codes that bind a phone."""

    tag: ClassVar[str] = "bindings"
    policy: ClassVar[Mapping[str, Rule]] = {
        "POST /api/v1/devices/{device}/bind-codes": Rule(
            {"clinician": Relation.ASSIGNED, "assistant": Relation.ASSIGNED}, "device"
        ),
        "POST /api/v1/bind": Rule({"patient": Relation.ANY, "device": Relation.ANY}),
    }

    def __init__(self, binding: BindingFlow) -> None:
        self._binding = binding

    # Not to be sent again by its key: the answer would have to be kept, and a code is kept nowhere.
    @route(
        "POST /api/v1/devices/{device}/bind-codes",
        status=HTTPStatus.CREATED,
        problems=("too_many_codes",),
        body_example={"way": "clinic"},
    )
    async def make_bind_code(self, call: Call, device: Id, body: MakeBindCode) -> BindCodeMade | Failure:
        """A code for the patient's phone: it is shown this once, works once, and not for long."""
        return await self._binding.make(call.principal, device, body.way)

    @route(
        "POST /api/v1/bind",
        creates=True,
        problems=("bad_code", "overloaded"),
        body_example={"code": "ACDE-FGHJ"},
    )
    async def bind_phone(self, call: Call, body: Bind) -> Bound | Failure:
        """Bind this phone with a code of its patient; a wrong, a used and an expired one look the same."""
        return await self._binding.bind(call.principal, body.code, None if body.phone is UNSET else body.phone)
