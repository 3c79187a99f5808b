"""I14 isolation, I15 audit, I16 privacy: nothing goes astray, everything is written down, nothing is told."""

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote

from tests.chaos.story import Story
from tests.chaos.violation import Violation

__all__ = ["chain_holds", "every_end_is_recorded_once", "nothing_leaks", "nothing_strays"]


def nothing_strays(story: Story) -> Iterator[Violation]:
    """I14: no phone is sent what names another device, another serial, or carries another device's words."""
    serials = {serial for event in story.facts["register"] for serial in event.v["serials"]}
    for offer in story.facts["offer_in"]:
        owners = {offer.v["device"], *offer.v.get("owners", ())}
        if owners != {story.device} or not set(offer.v.get("serials", ())) <= serials:
            yield Violation("I14", story.device, "an offer speaks of another device", (offer,))


def chain_holds(story: Story) -> Iterator[Violation]:
    """I15: the events of a device are numbered without a gap, and each hash covers the one before."""
    before = None
    for event in sorted(story.facts["read_audit"], key=lambda event: int(event.v["n"])):
        if before is not None and event.v["n"] != before.v["n"] + 1:
            text = f"after event {before.v['n']} comes event {event.v['n']}"
            yield Violation("I15", story.device, text, (before, event))
        elif before is not None and event.v["prev"] != before.v["hash"]:
            text = f"event {event.v['n']} does not follow from the one before"
            yield Violation("I15", story.device, text, (before, event))
        if event.v["hash"] != event.v["computed"]:
            yield Violation("I15", story.device, f"the hash of event {event.v['n']} is not of its content", (event,))
        before = event


def every_end_is_recorded_once(story: Story) -> Iterator[Violation]:
    """I15: each delivery has one recorded end, the one that it has, and nothing else has one."""
    whole = [event for event in story.facts["read_audit"] if event.v.get("ear") is None]
    ends = [event for event in whole if event.v.get("is_end")]
    recorded = {event.v["seq"]: event for event in ends}
    counted = Counter(event.v["seq"] for event in ends)
    for (_, seq), final in story.deliveries.items():
        if counted[seq] != 1:
            text = f"the end of seq {seq} is recorded {counted[seq]} times"
            yield Violation("I15", story.device, text, (final,))
        elif recorded[seq].v["state"] != final.v["state"]:
            text = f"seq {seq} is {final.v['state']}, and recorded as {recorded[seq].v['state']}"
            yield Violation("I15", story.device, text, (recorded[seq], final))
    numbers = {seq for _, seq in story.deliveries}
    for event in whole:
        if event.v.get("seq") is not None and event.v["seq"] not in numbers:
            yield Violation("I15", story.device, f"an event of seq {event.v['seq']}, which does not exist", (event,))
    yield from _grants_are_recorded(story)


def _grants_are_recorded(story: Story) -> Iterator[Violation]:
    recorded = sum(event.v.get("kind") == "grant" for event in story.facts["read_audit"])
    granted = {op.answer["fence"]: op for f in ("acquire", "steal") for op in story.ops[f] if op.outcome == "ok"}
    if recorded < len(granted):
        text = f"{len(granted)} fences were granted, and {recorded} grants are recorded"
        yield Violation("I15", story.device, text, granted[max(granted)].events)


def nothing_leaks(channels: Mapping[str, str], canaries: Iterable[str]) -> Iterator[Violation]:
    """I16: no canary is in any of the texts, plain, in hex, URL-encoded, or in base64 at any of its three offsets."""
    spelt = {canary: _spellings(canary) for canary in canaries}
    for channel, text in channels.items():
        for canary, spellings in spelt.items():
            if any(spelling in text for spelling in spellings):
                yield Violation("I16", "", f"{channel} tells {canary!r}")


def _spellings(canary: str) -> set[str]:
    raw = canary.encode()
    # A prefix shifts the text against base64's groups of three; the first and last characters then depend on it.
    shifted = (base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")[offset + 1 : -1] for offset in range(3))
    return {canary, quote(canary, safe=""), raw.hex(), *shifted}
