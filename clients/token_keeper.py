"""Shows a newer token over a link before the old one ends: live work must not end because a token did.

The server says in time that one does. It must not know what the link is for, nor what is in a token. Read
``keep_token`` first.
"""

from clients.hub_client import HubClient
from protocol.contract.session import Reauthenticate, ReauthenticateAnswer, SessionExpiring

__all__ = ["keep_token"]


def keep_token(hub: HubClient) -> None:
    """Renew the token of this client's link from now on, where there is another to be had than the one it began with.

    Call it before ``hub.start()``. What goes wrong is counted by the hub client; then the link ends with its token.
    """
    shown = ""

    async def renew(_: SessionExpiring) -> None:
        nonlocal shown
        token = await hub.fresh_token()
        # Whoever gives the same one again has no newer one, and would be told again at once.
        if token in {None, shown}:
            return
        shown = str(token)
        await hub.ask("Reauthenticate", Reauthenticate(token=shown), answer=ReauthenticateAnswer)

    # Whoever gives tokens may take a while.
    hub.on("SessionExpiring", renew, SessionExpiring, aside=True)
