"""The stores about people, together: chosen at one place, with one set of bounds.

Whoever is wired with them takes what it needs. This module must not load a database that is not used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from signaling.config import Config

from .acs import AcsStore, MemoryAcsStore
from .assignments import Assignments
from .bindings import BindStore, MemoryBindStore
from .decisions import DecisionStore, MemoryDecisionStore
from .patients import MemoryPatientStore, PatientStore

if TYPE_CHECKING:
    from .sql import Rows

__all__ = ["People", "memory_people", "sql_people"]


@dataclass(frozen=True, slots=True)
class People:
    """``consents`` are decisions of patients about scopes (``fitting.consents``); ``acs``: who is who in ACS."""

    patients: PatientStore
    assignments: Assignments
    consents: DecisionStore
    bindings: BindStore
    acs: AcsStore


def memory_people(config: Config, reached: Callable[[str], None]) -> People:
    """In this process; ``reached`` is told of bounds."""

    def decisions(bound: str) -> MemoryDecisionStore:
        return MemoryDecisionStore(
            max_owners=getattr(config, bound), owners_bound=bound, max_decisions=config.max_decisions, reached=reached
        )

    return People(
        patients=MemoryPatientStore(max_patients=config.max_patients, reached=reached),
        assignments=Assignments(decisions("max_devices")),
        consents=decisions("max_patients"),
        bindings=MemoryBindStore(
            max_live=config.max_bind_codes, max_codes=config.max_devices, codes_bound="max_devices", reached=reached
        ),
        acs=MemoryAcsStore(max_people=config.max_patients, max_visits=config.max_visits, reached=reached),
    )


def sql_people(rows: "Rows", config: Config, reached: Callable[[str], None]) -> People:
    """In a database, whose rows these are."""
    from .acs_sql import SqlAcsStore
    from .bindings_sql import SqlBindStore
    from .decisions_sql import SqlDecisionStore
    from .patients_sql import SqlPatientStore
    from .tables import assignment, consent

    return People(
        patients=SqlPatientStore(rows),
        assignments=Assignments(
            SqlDecisionStore(rows, assignment, max_decisions=config.max_decisions, reached=reached)
        ),
        consents=SqlDecisionStore(rows, consent, max_decisions=config.max_decisions, reached=reached),
        bindings=SqlBindStore(rows, max_live=config.max_bind_codes, reached=reached),
        acs=SqlAcsStore(rows),
    )
