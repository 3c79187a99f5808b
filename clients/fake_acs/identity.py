"""Identities and their tokens. Read ``answer`` first.

Read: paths, bodies, statuses. Public: how long tokens last. Assumed: 404 for an identity that there is not.
"""

from .answers import Breach
from .request import Asked, Reply
from .state import MOST, Identity, Resource
from .tokens import issue, minutes_of, scopes_of

__all__ = ["answer", "operation"]


def operation(asked: Asked) -> str:
    """What a request counts as: a creation with a token counts once."""
    if asked.method == "DELETE":
        return "delete"
    if len(asked.parts) == 1:
        return "create"
    return "revoke" if asked.parts[-1] == ":revokeAccessTokens" else "token"


def answer(resource: Resource, asked: Asked) -> Reply:
    """One request that was let in. Raises Breach."""
    match (asked.method, asked.parts):
        case ("POST", ("identities",)):
            return _create(resource, asked)
        case ("POST", ("identities", who, ":issueAccessToken")):
            identity = _find(resource, who)
            minutes = minutes_of(asked.json.get("expiresInMinutes"))
            return Reply(200, issue(resource, identity, scopes_of(asked.json.get("scopes")), minutes, asked.now_s))
        case ("POST", ("identities", who, ":revokeAccessTokens")):
            _find(resource, who).revoked_at_s = asked.now_s
            return Reply(204)
        case ("DELETE", ("identities", who)):
            del resource.identities[_find(resource, who).id]
            for thread in resource.threads.values():
                thread.members.pop(who, None)
            return Reply(204)
    raise Breach(404, "NotFound", "no such resource")


def _create(resource: Resource, asked: Asked) -> Reply:
    wanted = asked.json.get("createTokenWithScopes")
    # Read: an empty list of scopes is a creation without a token.
    scopes = scopes_of(wanted) if wanted else ()
    minutes = minutes_of(asked.json.get("expiresInMinutes"))
    if len(resource.identities) >= MOST:
        raise Breach(507, "Full", "this stand-in keeps no more identities")
    made = resource.new_identity()
    body: dict[str, object] = {"identity": {"id": made.id}}
    if scopes:
        body["accessToken"] = issue(resource, made, scopes, minutes, asked.now_s)
    return Reply(201, body)


def _find(resource: Resource, who: str) -> Identity:
    found = resource.identities.get(who)
    if found is None:
        raise Breach(404, "IdentityNotFound", "there is no such identity")
    return found
