"""The corner of Entra ID that gives an application a token for its secret, so that azure-identity runs as it is.

It also says where its keys are, and what they are, with which Event Grid's tokens are signed. Read: the paths, the form
that is posted, and what of the answer is looked at. Tokens of applications are the fake's own. Read ``Directory``.
"""

import secrets
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

from .answers import Breach
from .event_tokens import SigningKeys
from .request import Asked, Reply

__all__ = ["Directory"]

# Read: what the SDKs of the service ask for.
_SCOPE: Final = "https://communication.azure.com//.default"
_TTL_S: Final = 3_600
_MOST: Final = 1_000


@dataclass(slots=True)
class Directory:
    """One tenant with one application. ``tokens``: those that it has given, with their end in Unix seconds."""

    tenant: str = "11111111-1111-4111-8111-111111111111"
    client: str = "22222222-2222-4222-8222-222222222222"
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    tokens: dict[str, float] = field(default_factory=dict)
    signing: SigningKeys = field(default_factory=SigningKeys)

    def answer(self, asked: Asked, url: str) -> Reply | None:
        """None for what is not Entra's. Raises Breach."""
        if asked.parts[:1] != (self.tenant,):
            return None
        if asked.parts[1:] == ("v2.0", ".well-known", "openid-configuration"):
            return Reply(200, self._configuration(url))
        if asked.parts[1:] == ("discovery", "v2.0", "keys"):
            return Reply(200, self.signing.document())
        if asked.parts[1:] == ("oauth2", "v2.0", "token") and asked.method == "POST":
            return Reply(200, self._token(parse_qs(asked.body.decode()), asked.now_s))
        raise Breach(404, "NotFound", "no such resource")

    def takes(self, header: str, now_s: float) -> bool:
        """Whether a header carries a token of this directory that is good now."""
        return self.tokens.get(header.removeprefix("Bearer "), 0.0) > now_s

    def _token(self, form: dict[str, list[str]], now_s: float) -> dict[str, Any]:
        wanted = {"grant_type": "client_credentials", "client_id": self.client, "client_secret": self.secret}
        if any(form.get(name) != [value] for name, value in wanted.items()):
            raise Breach(401, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
        if _SCOPE not in form.get("scope", [""])[0].split():
            raise Breach(400, "invalid_scope", "AADSTS70011: The provided request must include a known scope.")
        if len(self.tokens) >= _MOST:
            self.tokens.pop(next(iter(self.tokens)))
        token = secrets.token_urlsafe(32)
        self.tokens[token] = now_s + _TTL_S
        return {"token_type": "Bearer", "expires_in": _TTL_S, "ext_expires_in": _TTL_S, "access_token": token}

    def _configuration(self, url: str) -> dict[str, str]:
        mine = f"{url}/{self.tenant}"
        return {
            "token_endpoint": f"{mine}/oauth2/v2.0/token",
            "authorization_endpoint": f"{mine}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{mine}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{mine}/discovery/v2.0/keys",
            "issuer": f"{mine}/v2.0",
        }
