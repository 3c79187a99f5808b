"""The tokens with which Event Grid shows who it is, the keys that sign them, and how a tenant publishes these.

Public: RS256, ``kid`` names a key of the tenant's JWKS, both forms of issuer, ``appid`` in version 1 and ``azp`` in
version 2, Event Grid's application. Assumed: that a token is an hour long, and made for each delivery. Read
``SigningKeys.token``.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

__all__ = ["AUDIENCE", "PUBLISHER", "SigningKeys", "event_claims"]

# Public: the same in every tenant.
PUBLISHER: Final = "4962773b-9cdb-44cf-a8bf-237846a00ab7"
# The application that stands for the webhook.
AUDIENCE: Final = "33333333-3333-4333-8333-333333333333"
_BITS: Final = 2_048
_TTL_S: Final = 3_600
# Public: a new key is published before it signs, and an old one for a while after.
_PUBLISHED: Final = 2


def event_claims(tenant: str, url: str, audience: str, now_s: float, *, version: int = 1) -> dict[str, Any]:
    """What a token of Event Grid says; ``url`` is where the directory is."""
    if version == 2:
        who = {"iss": f"{url}/{tenant}/v2.0", "azp": PUBLISHER, "ver": "2.0"}
    else:
        who = {"iss": f"https://sts.windows.net/{tenant}/", "appid": PUBLISHER, "ver": "1.0"}
    times = {"iat": int(now_s), "nbf": int(now_s), "exp": int(now_s) + _TTL_S}
    return {"aud": audience, "tid": tenant, "oid": str(uuid.uuid4()), **who, **times}


@dataclass(slots=True)
class SigningKeys:
    """Those of a tenant, the newest last, which signs. Made when first asked for: it takes a while."""

    _keys: list[tuple[str, rsa.RSAPrivateKey]] = field(default_factory=list)

    def rotate(self) -> None:
        """Sign with another key from now on."""
        self._keys.append((uuid.uuid4().hex, rsa.generate_private_key(public_exponent=65_537, key_size=_BITS)))
        del self._keys[:-_PUBLISHED]

    @property
    def newest(self) -> tuple[str, rsa.RSAPrivateKey]:
        """Its name, and the key."""
        if not self._keys:
            self.rotate()
        return self._keys[-1]

    def token(self, claims: Mapping[str, Any]) -> str:
        """Claims, signed with the newest key."""
        name, key = self.newest
        return jwt.encode(dict(claims), key, algorithm="RS256", headers={"kid": name})

    def document(self) -> dict[str, Any]:
        """The JWKS."""
        _ = self.newest
        return {"keys": [self._published(name, key) for name, key in self._keys]}

    def _published(self, name: str, key: rsa.RSAPrivateKey) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
        return {"kty": "RSA", "use": "sig", "kid": name, "x5t": name, "n": public["n"], "e": public["e"]}
