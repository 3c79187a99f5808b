"""Whether a pod would believe another that shows what it shows itself: a handshake of the two ends in memory.

What it finds was made wrong for all of them alike: an authority that did not sign it, a time that is over, a purpose
that it is not made out for, another name. Must not know where the certificates come from. There is one function.
"""

import ssl
from typing import Final

__all__ = ["doubt"]

# One more each way than a handshake of TLS 1.3 takes.
_TURNS: Final = 3


def doubt(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> str | None:
    """Why either end would refuse the other at ``host``, in OpenSSL's words; None: neither would."""
    asked, answered = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(answered, asked, server_hostname=host),
        server.wrap_bio(asked, answered, server_side=True),
    )
    try:
        for _ in range(_TURNS):
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except ssl.SSLError as error:
        return (error.reason or "handshake failure").lower().replace("_", " ")
    return None
