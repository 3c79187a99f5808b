"""Visits for tests over the wire: a device, its wearer, and a professional who meets him in a few minutes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import aiohttp

__all__ = ["Meeting", "schedule"]

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Meeting:
    """A visit, over REST. Both are other people each time: whoever was in a call is busy for a while."""

    url: str
    token: str
    visit: str
    device: str
    patient: str
    guests: tuple[str, ...]

    async def link(self, participant: str) -> str:
        """A way in for somebody without an account."""
        made = await _post(f"{self.url}/api/v1/visits/{self.visit}/participants/{participant}/links", self.token, None)
        return str(made["link"])


async def schedule(url: str, token_of: Callable[[str], Awaitable[str]], *others: dict[str, str]) -> Meeting:
    """A visit whose waiting room is open; ``others`` come along."""
    number = next(_numbers)
    device, patient, professional = f"d-{number}", f"pat-{number}", f"ann-{number}"
    token = await token_of(professional)
    aid = {"serial": f"R-{number}", "model": "ref10", "firmware": "2.3.1"}
    body = {"device": device, "patient": patient, "assignments": [professional], "right": aid}
    await _post(f"{url}/api/v1/devices", token, body)
    at = datetime.now(UTC) + timedelta(minutes=5)
    when = {"startsLocal": at.strftime("%Y-%m-%dT%H:%M"), "zone": "UTC", "participants": others}
    made = await _post(f"{url}/api/v1/devices/{device}/visits", token, when)
    guests = tuple(one["participant"] for one in made["participants"][2:])
    return Meeting(url, token, made["visit"], device, patient, guests)


async def _post(url: str, token: str, body: object) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as http, http.post(url, json=body) as answer:
        assert answer.status in (200, 201), await answer.text()
        found: dict[str, Any] = await answer.json()
        return found
