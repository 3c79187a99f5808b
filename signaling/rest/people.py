"""The resources about people, made of the stores and flows that they need."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from fitting.log import DeviceLog
from fitting.signing import OfferSigner
from signaling.attempts import Attempts
from signaling.backplane import Backplane
from signaling.config import Config
from signaling.flows.binding import BindingFlow, BindTimes
from signaling.flows.consents import ConsentFlow
from signaling.flows.phones import Phones, device_group
from signaling.flows.revocations import Revocations
from signaling.flows.session import SessionFlow
from signaling.flows.waking import Waking
from signaling.grants import RememberedGrants
from signaling.lifetime import LifetimeManager
from signaling.stores.devices import DeviceStore
from signaling.stores.people import People

from .assignments import AssignmentsOfDevices
from .bindings import Bindings
from .consents import ConsentsOfPatients
from .on_file import OnFileOfDevices
from .patients import Patients
from .resource import Resource

__all__ = ["PEOPLE", "PeopleParts", "people_resources"]

PEOPLE: Final[tuple[type[Resource], ...]] = (
    OnFileOfDevices,
    AssignmentsOfDevices,
    Patients,
    ConsentsOfPatients,
    Bindings,
)


@dataclass(frozen=True, slots=True)
class PeopleParts:
    """What the resources share. ``bind_key`` hashes bind codes; ``lifetime`` is that of the care hub.

    ``look_again`` judges the packages of a device anew.
    """

    config: Config
    people: People
    devices: DeviceStore
    log: DeviceLog
    consents: ConsentFlow
    session: SessionFlow
    phones: Phones
    look_again: Callable[[str], Awaitable[None]]
    signer: OfferSigner
    bind_key: bytes
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    remembered: RememberedGrants
    waking: Waking
    lifetime: LifetimeManager
    backplane: Backplane
    reached: Callable[[str], None]


def people_resources(parts: PeopleParts) -> tuple[Resource, ...]:
    """All of ``PEOPLE``."""
    return (
        OnFileOfDevices(parts.devices, parts.log, parts.look_again, parts.clock),
        AssignmentsOfDevices(parts.devices, parts.people.assignments, parts.log, parts.clock, _forget(parts)),
        Patients(parts.people.patients, parts.clock),
        ConsentsOfPatients(parts.consents, parts.session, parts.phones, parts.look_again, parts.clock),
        Bindings(_binding(parts)),
    )


def _forget(parts: PeopleParts) -> Callable[[str, str, str], None]:
    def forget(clinic: str, person: str, device: str) -> None:
        parts.remembered.forget(clinic, person, device)
        # He hears no more of the device either.
        parts.lifetime.remove_user_from_group(clinic, person, device_group(device))

    return Revocations(parts.backplane, forget).revoke


def _binding(parts: PeopleParts) -> BindingFlow:
    config = parts.config

    def attempts(limit: str) -> Attempts:
        return Attempts(
            limit=getattr(config, limit),
            limit_bound=limit,
            window_s=config.bind_window_s,
            max_keys=config.max_bind_callers,
            keys_bound="max_bind_callers",
            reached=parts.reached,
        )

    return BindingFlow(
        store=parts.people.bindings,
        devices=parts.devices,
        log=parts.log,
        on_bound=parts.waking.forget,
        signer=parts.signer,
        key=parts.bind_key,
        callers=attempts("max_bind_attempts"),
        clinics=attempts("max_clinic_bind_attempts"),
        times=BindTimes(config.bind_code_ttl_s, config.bind_code_mail_ttl_s),
        clock=parts.clock,
        monotonic=parts.monotonic,
        randomness=secrets.token_bytes,
    )
