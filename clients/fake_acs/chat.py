"""Threads: who is in one, what was written, and which scope a token needs for what. Read ``answer`` first.

Read: paths, bodies, statuses, that the creator is in his thread, that pages go on with ``nextLink``, the kinds of
messages. Public: what each scope allows, 250 people in a thread, 28 KB in a message, only the sender changes his
message, and the thread itself tells who came and went. Assumed: the codes of errors, that the newest message comes
first, that ``startTime`` is inclusive.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from .answers import Breach
from .request import Asked, Reply, repeated
from .state import MOST, Member, Message, Resource, Thread, iso
from .tokens import UserToken

__all__ = ["answer"]

_MOST_PEOPLE: Final = 250
_MOST_BYTES: Final = 28_672
_PAGE: Final = 100
_MAY_CREATE: Final = frozenset({"chat"})
_MAY_ADD: Final = frozenset({"chat", "chat.join"})
_MAY_TALK: Final = frozenset({"chat", "chat.join", "chat.join.limited"})


def answer(resource: Resource, asked: Asked, user: UserToken, url: str) -> Reply:
    """One request that was let in. ``url`` is where the service is reached. Raises Breach."""
    match (asked.method, asked.parts[1:]):
        case ("POST", ("threads",)):
            return _create(resource, asked, user)
        case ("GET", ("threads",)):
            _needs(user, _MAY_TALK)
            mine = [one for one in resource.threads.values() if user.identity.id in one.members and not one.deleted]
            return _page([{"id": one.id, "topic": one.topic} for one in mine], asked, url)
        case ("DELETE", ("threads", name)):
            _needs(user, _MAY_CREATE)
            thread = _find(resource, name, user)
            thread.deleted = True
            return Reply(204)
        case ("GET", ("threads", name)):
            _needs(user, _MAY_TALK)
            return Reply(200, _properties(_find(resource, name, user)))
        case (_, ("threads", name, "messages", *_)):
            _needs(user, _MAY_TALK)
            return _messages(_find(resource, name, user), asked, user, url)
        case (_, ("threads", name, "participants", *_)):
            return _people(resource, asked, user, url)
        case ("POST", ("threads", name, "typing" | "readReceipts")):
            _needs(user, _MAY_TALK)
            _find(resource, name, user)
            return Reply(200)
    raise Breach(404, "NotFound", "no such resource")


def _create(resource: Resource, asked: Asked, user: UserToken) -> Reply:
    _needs(user, _MAY_CREATE)
    known, key = repeated(resource, asked, "repeatability-request-id")
    if known is not None:
        return known
    body = asked.json
    topic = body.get("topic")
    if not isinstance(topic, str) or not 0 < len(topic) <= 250:
        raise Breach(400, "BadRequest", "topic: 1 to 250 characters")
    if len(resource.threads) >= MOST:
        raise Breach(507, "Full", "this stand-in keeps no more threads")
    me = user.identity.id
    # Read: the form of a thread's id.
    thread = Thread(f"19:acsV1_{uuid.uuid4().hex}@thread.v2", topic, asked.now_s, me, {me: Member(me)})
    wrong = _add(resource, thread, body.get("participants") or [], asked.now_s)
    resource.threads[thread.id] = thread
    reply = Reply(201, {"chatThread": _properties(thread), "invalidParticipants": wrong})
    if key:
        resource.repeated[key] = (asked.hashed, reply.status, reply.body)
    return reply


def _messages(thread: Thread, asked: Asked, user: UserToken, url: str) -> Reply:
    match (asked.method, asked.parts[4:]):
        case ("POST", ()):
            return Reply(201, {"id": _write(thread, asked, user).id})
        case ("GET", ()):
            from_s = _time(asked.query.get("startTime"))
            since_s = max(thread.members[user.identity.id].since_s, from_s)
            seen = [_view(one) for one in reversed(thread.messages) if one.at_s >= since_s]
            return _page(seen, asked, url)
        case ("GET", (name,)):
            return Reply(200, _view(_message(thread, name)))
        case ("PATCH", (name,)):
            found = _own(thread, name, user)
            found.content, found.edited_at_s = {"message": _content(asked.json)}, asked.now_s
            return Reply(204)
        case ("DELETE", (name,)):
            found = _own(thread, name, user)
            found.deleted_at_s, found.content = asked.now_s, {}
            return Reply(204)
    raise Breach(404, "NotFound", "no such resource")


def _people(resource: Resource, asked: Asked, user: UserToken, url: str) -> Reply:
    thread = _find(resource, asked.parts[2], user)
    match (asked.method, asked.parts[4:]):
        case ("GET", ()):
            _needs(user, _MAY_TALK)
            return _page([_member(one) for one in thread.members.values()], asked, url)
        case ("POST", (":add",)):
            _needs(user, _MAY_ADD)
            return Reply(
                201, {"invalidParticipants": _add(resource, thread, asked.json.get("participants"), asked.now_s)}
            )
        case ("POST", (":remove",)):
            who = _raw_id(asked.json)
            if who != user.identity.id:
                _needs(user, _MAY_ADD)
            gone = thread.members.pop(who, None)
            if gone is not None:
                _tell(thread, "participantRemoved", {"participants": [_member(gone)]}, asked.now_s)
            return Reply(204)
    raise Breach(404, "NotFound", "no such resource")


def _add(resource: Resource, thread: Thread, given: Any, now_s: float) -> list[dict[str, str]]:
    """Read: who cannot be added is told of, the others are in it."""
    wrong, come = [], []
    for one in given or []:
        who = _raw_id(one.get("communicationIdentifier") or {})
        if who not in resource.identities:
            wrong.append({"code": "404", "message": "Not found", "target": who})
        elif len(thread.members) >= _MOST_PEOPLE:
            raise Breach(400, "BadRequest", "too many people")
        elif who not in thread.members:
            since_s = _time(one.get("shareHistoryTime"), now_s)
            thread.members[who] = Member(who, str(one.get("displayName") or ""), since_s)
            come.append(thread.members[who])
    if come:
        _tell(thread, "participantAdded", {"participants": [_member(one) for one in come]}, now_s)
    return wrong


def _write(thread: Thread, asked: Asked, user: UserToken) -> Message:
    body = asked.json
    kind = body.get("type", "text")
    if kind not in ("text", "html"):
        raise Breach(400, "BadRequest", "type: text or html")
    metadata = body.get("metadata") or {}
    message = _tell(thread, kind, {"message": _content(body)}, asked.now_s, sender=user.identity.id)
    message.sender_name, message.metadata = str(body.get("senderDisplayName") or ""), dict(metadata)
    return message


def _tell(thread: Thread, kind: str, content: dict[str, Any], now_s: float, *, sender: str = "") -> Message:
    # Read: ids are increasing milliseconds.
    thread.last_ms = max(thread.last_ms + 1, int(now_s * 1_000))
    made = Message(str(thread.last_ms), len(thread.messages) + 1, kind, sender, thread.last_ms / 1_000, content)
    thread.messages.append(made)
    return made


def _content(body: dict[str, Any]) -> str:
    content = body.get("content")
    if not isinstance(content, str) or not 0 < len(content.encode()) <= _MOST_BYTES:
        raise Breach(413 if content else 400, "BadRequest", "content: 1 byte to 28 KB")
    return content


def _needs(user: UserToken, scopes: frozenset[str]) -> None:
    if not user.scopes & scopes:
        raise Breach(403, "Forbidden", "the scopes of the token do not allow it")


def _find(resource: Resource, name: str, user: UserToken) -> Thread:
    found = resource.threads.get(name)
    if found is None or found.deleted:
        raise Breach(404, "NotFound", "there is no such thread")
    if user.identity.id not in found.members:
        raise Breach(403, "Forbidden", "whose token it is takes no part in the thread")
    return found


def _message(thread: Thread, name: str) -> Message:
    for one in thread.messages:
        if one.id == name:
            return one
    raise Breach(404, "NotFound", "there is no such message")


def _own(thread: Thread, name: str, user: UserToken) -> Message:
    found = _message(thread, name)
    if found.sender != user.identity.id:
        raise Breach(403, "Forbidden", "only who wrote a message changes it")
    return found


def _raw_id(identifier: dict[str, Any]) -> str:
    found = identifier.get("rawId") or (identifier.get("communicationUser") or {}).get("id")
    if not isinstance(found, str):
        raise Breach(400, "BadRequest", "an identifier names nobody")
    return found


def _time(text: Any, default_s: float = 0.0) -> float:
    if text is None:
        return default_s
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        raise Breach(400, "BadRequest", "a time is none") from None


def _page(items: Sequence[Any], asked: Asked, url: str) -> Reply:
    most = min(int(asked.query.get("maxPageSize", _PAGE)), _PAGE)
    skip = int(asked.query.get("skip", 0))
    body: dict[str, Any] = {"value": list(items[skip : skip + most])}
    if skip + most < len(items):
        query = urlencode({**asked.query, "skip": skip + most})
        body["nextLink"] = f"{url}/{'/'.join(asked.parts)}?{query}"
    return Reply(200, body)


def _identifier(who: str) -> dict[str, Any]:
    return {"kind": "communicationUser", "rawId": who, "communicationUser": {"id": who}}


def _member(member: Member) -> dict[str, Any]:
    return {"communicationIdentifier": _identifier(member.id), "displayName": member.display_name}


def _properties(thread: Thread) -> dict[str, Any]:
    return {
        "id": thread.id,
        "topic": thread.topic,
        "createdOn": iso(thread.created_at_s),
        "createdByCommunicationIdentifier": _identifier(thread.created_by),
    }


def _view(message: Message) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": message.id,
        "type": message.kind,
        "sequenceId": str(message.sequence),
        "version": message.id,
        "content": message.content,
        "createdOn": iso(message.at_s),
    }
    if message.sender:
        shown["senderCommunicationIdentifier"] = _identifier(message.sender)
        shown |= {"senderDisplayName": message.sender_name, "metadata": message.metadata}
    if message.edited_at_s is not None:
        shown["editedOn"] = iso(message.edited_at_s)
    if message.deleted_at_s is not None:
        shown["deletedOn"] = iso(message.deleted_at_s)
    return shown
