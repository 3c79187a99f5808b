"""Rooms: who may be in a call, as what, from when until when. Read ``answer`` first.

Read: paths, bodies, roles, that participants are a map and null takes one out (a JSON merge patch), the headers of
repeatability. Public: a room is open for 180 days when nothing is said, and 350 people are in one at most. Assumed:
the codes of errors.
"""

import secrets
from datetime import datetime
from typing import Any, Final

from .answers import Breach
from .request import Asked, Reply, repeated
from .state import MOST, Resource, Room, iso

__all__ = ["ROLES", "answer"]

ROLES: Final = frozenset({"Presenter", "Attendee", "Consumer", "Collaborator"})
_MOST_PEOPLE: Final = 350
_OPEN_S: Final = 180 * 86_400


def answer(resource: Resource, asked: Asked) -> Reply:
    """One request that was let in. Raises Breach."""
    match (asked.method, asked.parts):
        case ("POST", ("rooms",)):
            return _create(resource, asked)
        case ("GET", ("rooms",)):
            return Reply(200, {"value": [_view(room) for room in resource.rooms.values()]})
        case ("GET", ("rooms", room)):
            return Reply(200, _view(_find(resource, room)))
        case ("PATCH", ("rooms", room)):
            return _update(_find(resource, room), asked)
        case ("DELETE", ("rooms", room)):
            del resource.rooms[_find(resource, room).id]
            return Reply(204)
        case ("GET", ("rooms", room, "participants")):
            people = _find(resource, room).participants
            return Reply(200, {"value": [{"rawId": who, "role": role} for who, role in people.items()]})
        case ("PATCH", ("rooms", room, "participants")):
            _take(resource, _find(resource, room), asked.json.get("participants"))
            return Reply(200, {})
    raise Breach(404, "NotFound", "no such resource")


def _create(resource: Resource, asked: Asked) -> Reply:
    if not asked.headers.get("Repeatability-Request-ID") or not asked.headers.get("Repeatability-First-Sent"):
        raise Breach(400, "MissingHeader", "the headers of repeatability are wanted")
    known, key = repeated(resource, asked, "Repeatability-Request-ID")
    if known is not None:
        return known
    body = asked.json
    from_s = _time(body.get("validFrom"), asked.now_s)
    until_s = _time(body.get("validUntil"), from_s + _OPEN_S)
    _check_window(from_s, until_s, asked.now_s)
    if len(resource.rooms) >= MOST:
        raise Breach(507, "Full", "this stand-in keeps no more rooms")
    # Read: a room's id is a number of many digits.
    room = Room(f"99{secrets.randbelow(10**15):015}", asked.now_s, from_s, until_s, {})
    room.dial_out = bool(body.get("pstnDialOutEnabled"))
    _take(resource, room, body.get("participants") or {})
    resource.rooms[room.id] = room
    reply = Reply(201, _view(room))
    if key:
        resource.repeated[key] = (asked.hashed, reply.status, reply.body)
    return reply


def _update(room: Room, asked: Asked) -> Reply:
    body = asked.json
    from_s = _time(body.get("validFrom"), room.valid_from_s)
    until_s = _time(body.get("validUntil"), room.valid_until_s)
    _check_window(from_s, until_s, asked.now_s)
    room.valid_from_s, room.valid_until_s = from_s, until_s
    return Reply(200, _view(room))


def _take(resource: Resource, room: Room, given: Any) -> None:
    if not isinstance(given, dict):
        raise Breach(400, "BadRequest", "participants: a map by raw id is wanted")
    after = dict(room.participants)
    for who, what in given.items():
        if what is None:
            after.pop(who, None)
            continue
        role = (what.get("role") or "Attendee") if isinstance(what, dict) else ""
        if role not in ROLES:
            raise Breach(400, "BadRequest", "role: there is no such role")
        if who not in resource.identities:
            raise Breach(400, "BadRequest", "participants: one is no identity of this resource")
        after[who] = role
    if len(after) > _MOST_PEOPLE:
        raise Breach(400, "BadRequest", "participants: too many")
    room.participants = after


def _check_window(from_s: float, until_s: float, now_s: float) -> None:
    if until_s <= from_s or until_s <= now_s:
        raise Breach(400, "BadRequest", "validUntil: after validFrom, and in the future")


def _time(text: Any, default_s: float) -> float:
    if text is None:
        return default_s
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        raise Breach(400, "BadRequest", "a time is none") from None


def _find(resource: Resource, room: str) -> Room:
    found = resource.rooms.get(room)
    if found is None:
        raise Breach(404, "RoomNotFound", "there is no such room")
    return found


def _view(room: Room) -> dict[str, Any]:
    return {
        "id": room.id,
        "createdAt": iso(room.created_at_s),
        "validFrom": iso(room.valid_from_s),
        "validUntil": iso(room.valid_until_s),
        "pstnDialOutEnabled": room.dial_out,
    }
