"""What a phone tells, in the words of the history."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import UNSET, structs

from protocol.contract.base import EARS
from protocol.contract.devices import Offer
from tests.chaos.history import Event, read_history

__all__ = ["offer_values", "phone_events"]


def offer_values(offer: Offer) -> dict[str, Any]:
    """An offer as the history has it; ``owners`` are the devices that its words name."""
    targets = [getattr(offer.target, ear) for ear in EARS]
    expect = offer.body.expect
    return {
        "device": offer.device,
        "epoch": offer.epoch,
        "seq": offer.seq,
        "after": offer.after,
        "attempt": offer.attempt,
        "rev": offer.revision_id,
        "fence": offer.fence,
        "kind": offer.kind,
        "serials": [target.serial for target in targets if target is not UNSET],
        "expect": {ear: getattr(expect, ear) for ear in EARS if getattr(expect, ear) is not UNSET},
        "ears": [ear for ear in EARS if getattr(offer.body, ear)],
    }


def phone_events(path: Path, process: str) -> Iterator[Event]:
    """The events of one life of a phone, each offer with the generation of its connection.

    An offer may be taken before the answer to the hello is: it is of the welcome that follows, None when none did.
    """
    events = list(read_history(path))
    following: int | None = None
    of_hello: dict[int, int | None] = {}
    for place in reversed(range(len(events))):
        if events[place].f == "welcome":
            following = events[place].v["gen"]
        elif events[place].f == "hello":
            of_hello[place], following = following, None
    generation: int | None = None
    for place, event in enumerate(events):
        generation = of_hello.get(place, generation)
        told = {**event.v, "gen": generation} if event.f == "offer_in" else event.v
        yield structs.replace(event, p=process, v=told)
