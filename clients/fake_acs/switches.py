"""The switches of the stand-in: trouble on and off, keys rolled, subscriptions made, what came. Read ``flip``.

``POST /fake/faults`` ``{"kind": "status", "area": "identities", "status": 503, "count": 3}``; ``DELETE /fake/faults``;
``POST /fake/keys`` rolls the access key, and answers with it; ``POST /fake/local-auth`` ``{"on": false}``;
``POST /fake/signing-keys`` rolls the key of Entra's tokens; ``POST /fake/events``
``{"url": ..., "headers": {...}, "audience": ..., "version": 1}``; ``POST /fake/throttle``
``{"limits": ["token=100/10"]}``; ``GET /fake``.
"""

import base64
import secrets
from collections import Counter
from typing import TYPE_CHECKING

from .answers import Breach
from .faults import Fault
from .request import Asked, Reply
from .throttle import parse_limit

if TYPE_CHECKING:
    from .service import FakeAcs

__all__ = ["flip"]


async def flip(service: "FakeAcs", asked: Asked) -> Reply:
    """One switch. Raises Breach."""
    body = asked.json
    match (asked.method, asked.parts[1:]):
        case ("GET", ()):
            return Reply(200, _seen(service))
        case ("POST", ("faults",)):
            try:
                service.faults.on.append(Fault(**body))
            except TypeError:
                raise Breach(
                    400, "BadSwitch", "a fault has kind, area, status, retry_after_s, delay_s, count"
                ) from None
            return Reply(204)
        case ("DELETE", ("faults",)):
            service.faults.clear()
            return Reply(204)
        case ("POST", ("keys",)):
            service.resource.keys[:] = [base64.b64encode(secrets.token_bytes(64)).decode()]
            return Reply(200, {"key": service.resource.keys[0]})
        case ("POST", ("local-auth",)):
            service.local_auth = bool(body.get("on"))
            return Reply(204)
        case ("POST", ("events",)):
            return await _subscribed(service, asked)
        case ("POST", ("signing-keys",)):
            service.directory.signing.rotate()
            return Reply(204)
        case ("POST", ("throttle",)):
            return _throttled(service, asked)
    raise Breach(404, "NotFound", "no such switch")


async def _subscribed(service: "FakeAcs", asked: Asked) -> Reply:
    body = asked.json
    service.event_token_version = 2 if body.get("version") == 2 else 1
    url, audience = str(body.get("url")), str(body.get("audience") or "")
    taken = await service.events.subscribe(url, body.get("headers") or {}, audience=audience)
    return Reply(200, {"validated": taken})


def _throttled(service: "FakeAcs", asked: Asked) -> Reply:
    try:
        service.throttle.limits |= dict(map(parse_limit, asked.json.get("limits") or ()))
    except ValueError as error:
        raise Breach(400, "BadSwitch", str(error)) from None
    return Reply(204)


def _seen(service: "FakeAcs") -> dict[str, object]:
    resource = service.resource
    return {
        "identities": len(resource.identities),
        "rooms": len(resource.rooms),
        "threads": sum(not thread.deleted for thread in resource.threads.values()),
        "throttled": service.throttle.refused,
        "events": {"told": service.events.told, "answers": dict(Counter(map(str, service.events.answers)))},
        "asked": dict(Counter(service.asked)),
        "breaches": service.breaches[-20:],
    }
