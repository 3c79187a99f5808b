"""Who may do what, as one table per surface and one check in front of every call.

A rule names, for each role, how the caller must stand to the object of the call. A method without a rule keeps
the server from starting (``check_complete``), and an unknown object looks like a forbidden one.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final, Protocol, get_args

from protocol.errors import AuricleError, NotAllowed, NotFound

from .auth import Principal, Role

__all__ = [
    "ANYONE",
    "DEVICE_READERS",
    "Grants",
    "IncompletePolicy",
    "Relation",
    "Rule",
    "authorize",
    "check_complete",
    "role_in",
]


class IncompletePolicy(AuricleError):
    """A method without a rule, or a rule without a method: the server must not start."""

    code = "incomplete_policy"


class Relation(Enum):
    """How a caller must stand to the object of a call."""

    ANY = "any"
    """No object is named, or none needs to be the caller's."""
    ASSIGNED = "assigned"
    """A professional of the object's clinic whom the clinic assigned to it."""
    CLINIC = "clinic"
    """The object is one of the caller's clinic."""
    OWN = "own"
    """The object belongs to the caller."""
    PARTICIPANT = "participant"
    """The caller takes part in the visit; of a device: in the live visit about it, in a role that may make it quiet."""

    # Each is one object for ever; an enum's own hash is a function in Python, and every call asks for some.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """Which roles may call, and how each must stand to the object that ``object_field`` of the payload names."""

    relations: Mapping[Role, Relation]
    object_field: str | None = None

    def permits(self, roles: frozenset[str]) -> bool:
        """Whether one of the roles may call at all."""
        return not roles.isdisjoint(self.relations)

    def __post_init__(self) -> None:
        """A relation to an object needs an object."""
        needs_object = any(relation is not Relation.ANY for relation in self.relations.values())
        if needs_object != (self.object_field is not None):
            raise IncompletePolicy("a rule with a relation names the object, and no other rule does")


ANYONE: Final = Rule(dict.fromkeys(get_args(Role), Relation.ANY))
# Who may see what is known of a device, over a hub or over REST.
DEVICE_READERS: Final = Rule(
    {
        "clinician": Relation.ASSIGNED,
        "assistant": Relation.ASSIGNED,
        "patient": Relation.OWN,
        "device": Relation.OWN,
    },
    "device",
)


class Grants(Protocol):
    """Knows how people stand to objects of one kind: devices, patients, visits."""

    async def holds(self, principal: Principal, relation: Relation, object_id: str) -> bool:
        """Whether the relation holds; False also when there is no such object."""
        ...


async def authorize(rule: Rule, principal: Principal, object_id: str, grants: Grants) -> None:
    """The whole check of one call.

    Raises:
        NotAllowed: no role of the caller is in the rule.
        NotFound: there is no such object, or it is not the caller's to touch.
    """
    relations = relations_of(rule, principal.roles)
    if not relations:
        raise NotAllowed("not allowed")
    if Relation.ANY in relations:
        return
    for relation in relations:
        if await grants.holds(principal, relation, object_id):
            return
    raise NotFound(f"no such {rule.object_field}")


@lru_cache(maxsize=1_024)
def relations_of(rule: Rule, roles: frozenset[str]) -> tuple[Relation, ...]:
    """The relations of which one must hold for a caller in these roles; empty when such a one may not call at all."""
    return tuple({relation: None for role, relation in rule.relations.items() if role in roles})


def role_in(principal: Principal, rule: Rule) -> Role:
    """The role in which a caller does what the rule is about, the first of the rule's that he has: for the record.

    Raises:
        NotAllowed: he has none of them.
    """
    for role in rule.relations:
        if role in principal.roles:
            return role
    raise NotAllowed("not allowed")


def check_complete(surface: str, methods: Collection[str], policy: Mapping[str, Rule]) -> None:
    """Every method has a rule and every rule a method.

    Raises:
        IncompletePolicy: naming those that miss.
    """
    missing = sorted(set(methods) - set(policy))
    if missing:
        raise IncompletePolicy(f"{surface}: no rule for {', '.join(missing)}")
    unused = sorted(set(policy) - set(methods))
    if unused:
        raise IncompletePolicy(f"{surface}: rules for unknown methods {', '.join(unused)}")
