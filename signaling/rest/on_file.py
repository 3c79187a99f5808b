"""What is on file of a device can change after its registration: measured anew, or put right, and always recorded.

The safety kernel judges by it, so a change is held to the version that it was thought of on.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar, Final

from fitting.log import DeviceLog
from protocol.contract.base import Id
from protocol.contract.people import ChangeOnFile, OnFile
from protocol.errors import NotFound
from signaling.policy import Relation, Rule
from signaling.stores.devices import DeviceRecord, DeviceStore

from .entity import tag_of_version
from .on_file_views import changed, is_done, shown
from .problems import PreconditionFailed
from .resource import Call, Reply, Resource, route

__all__ = ["OnFileOfDevices"]

_EXAMPLE: Final = {"reason": "measured again today", "loudnessDdb": {"right": [1_050] * 10}}


class OnFileOfDevices(Resource):
    """Loudness levels, stable gains and red flags of a device; its ``audiograms`` are documents of their own."""

    tag: ClassVar[str] = "devices"
    policy: ClassVar[Mapping[str, Rule]] = {
        "GET /api/v1/devices/{device}/on-file": Rule(
            {"clinician": Relation.ASSIGNED, "assistant": Relation.ASSIGNED, "patient": Relation.OWN}, "device"
        ),
        "PATCH /api/v1/devices/{device}/on-file": Rule({"clinician": Relation.ASSIGNED}, "device"),
    }

    def __init__(
        self,
        devices: DeviceStore,
        log: DeviceLog,
        look_again: Callable[[str], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._devices = devices
        self._log = log
        self._look_again = look_again
        self._clock = clock

    @route("GET /api/v1/devices/{device}/on-file")
    async def read_on_file(self, call: Call, device: Id) -> Reply[OnFile]:
        """What the safety kernel is told of the patient."""
        return _reply(await self._record(device))

    @route("PATCH /api/v1/devices/{device}/on-file", needs_match=True, body_example=_EXAMPLE)
    async def change_on_file(self, call: Call, device: Id, body: ChangeOnFile) -> Reply[OnFile]:
        """Change some of it, with a reason; what is not named stays, null takes it away."""
        record, user = await self._record(device), call.principal.user
        wanted = changed(record, body, by=user, at_s=self._clock())
        if self._is_repeated(call, record, wanted):
            wanted = record
        else:
            call.expects(str(record.version))
            if not await self._devices.change(wanted):
                raise PreconditionFailed("somebody else has changed it: read it again")
        # The record itself says who and why; it is in the device's history too, also when the answer was lost before.
        await self._log.note(device, "device", "on_file_changed", actor=user, text=body.reason)
        await self._look_again(device)
        return _reply(wanted)

    def _is_repeated(self, call: Call, record: DeviceRecord, wanted: DeviceRecord) -> bool:
        """Whether this very change has come about already, and only its answer was lost (RFC 9110, 13.1.1)."""
        was = tag_of_version(str(record.version - 1))
        return call.if_match is not None and was in call.if_match.strong and is_done(record, wanted)

    async def _record(self, device: str) -> DeviceRecord:
        record = await self._devices.get(device)
        if record is None:
            raise NotFound("no such device")
        return record


def _reply(record: DeviceRecord) -> Reply[OnFile]:
    return Reply(shown(record), version=str(record.version))
