"""Whether credentials of Azure Communication Services are good: asked with Microsoft's clients, and cleaned up after.

The credentials are the server's own, from the same variables of the environment. What the service answers is not
quoted. Read ``identities``.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from clients.probe.target import Target
from clients.probe.verdicts import Trouble, Verdict, ok, skip

__all__ = ["chat", "identities", "rooms"]

_NONE: Final = "no credentials of ACS were given"
_EXTRA: Final = "needs auricle[azure]"


@asynccontextmanager
async def _people(target: Target) -> AsyncIterator[tuple[Any, Any, dict[str, Any]]]:
    """The client for identities, the credential, and what every client is made with."""
    from azure.communication.identity.aio import CommunicationIdentityClient
    from azure.core.credentials import AzureKeyCredential

    acs = target.acs
    if acs is None:
        raise Trouble(_NONE)
    options: dict[str, Any] = {"retry_total": 0}
    if target.acs_ca:
        options["connection_verify"] = target.acs_ca
    async with AsyncExitStack() as stack:
        credential: Any = AzureKeyCredential(acs.key)
        if not acs.key:
            try:
                from azure.identity.aio import DefaultAzureCredential
            except ImportError:
                raise Trouble(_EXTRA) from None
            credential = await stack.enter_async_context(DefaultAzureCredential(**options))
        client = CommunicationIdentityClient(acs.endpoint, credential, **options)
        yield await stack.enter_async_context(client), credential, options


def _asked(check: Callable[[Target], Awaitable[Verdict]]) -> Callable[[Target], Awaitable[Verdict]]:
    """Skipped without credentials; what the service refuses is told by its status alone."""

    async def asked(target: Target) -> Verdict:
        from azure.core.exceptions import AzureError, HttpResponseError

        if target.acs is None:
            return skip(_NONE)
        try:
            return await check(target)
        except HttpResponseError as error:
            raise Trouble(f"answered with {error.status_code or 'no token of Entra'}") from None
        except AzureError as error:
            raise Trouble(f"not reached: {type(error).__name__}") from None

    return asked


@_asked
async def identities(target: Target) -> Verdict:
    """Whether an identity and a token can be made."""
    async with _people(target) as (client, _, _):
        user, _ = await client.create_user_and_token(["voip", "chat"])
        await client.delete_user(user)
    how = "an access key" if target.acs is not None and target.acs.key else "credentials of Entra"
    return ok(f"an identity with a token was made and deleted, with {how}")


@_asked
async def chat(target: Target) -> Verdict:
    """Whether a thread can be made."""
    from azure.communication.chat.aio import ChatClient, CommunicationTokenCredential

    async with _people(target) as (client, _, options):
        user, token = await client.create_user_and_token(["chat"])
        try:
            endpoint = "" if target.acs is None else target.acs.endpoint
            async with ChatClient(endpoint, CommunicationTokenCredential(token.token), **options) as threads:
                made = await threads.create_chat_thread("auricle probe")
                await threads.delete_chat_thread(made.chat_thread.id)
        finally:
            await client.delete_user(user)
    return ok("a thread was made and deleted")


@_asked
async def rooms(target: Target) -> Verdict:
    """Whether a room can be made."""
    try:
        from azure.communication.rooms.aio import RoomsClient
    except ImportError:
        return skip(_EXTRA)
    async with _people(target) as (_, credential, options):
        endpoint = "" if target.acs is None else target.acs.endpoint
        async with RoomsClient(endpoint, credential, **options) as client:
            room = await client.create_room()
            await client.delete_room(room.id)
    return ok("a room was made and deleted")
