"""Microsoft's own clients of the stand-in, as a test needs them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from azure.communication.chat.aio import ChatClient, CommunicationTokenCredential
from azure.communication.identity import CommunicationIdentityClient as SyncIdentities
from azure.communication.identity.aio import CommunicationIdentityClient
from azure.communication.rooms.aio import RoomsClient
from azure.core.credentials import AzureKeyCredential
from azure.identity.aio import ClientSecretCredential

from clients.fake_acs.service import FakeAcs

__all__ = ["ClientSecret", "blocking", "chat_of", "entra", "identities", "quick", "rooms", "sync_identities"]

T = TypeVar("T")
ClientSecret = ClientSecretCredential


def quick(acs: FakeAcs) -> dict[str, Any]:
    """No retries of the library's own, and the certificate that is trusted."""
    return {"connection_verify": str(acs.ca), "retry_total": 0}


async def blocking(work: Callable[[], T]) -> T:
    """The clients that block."""
    return await asyncio.get_running_loop().run_in_executor(None, work)


def sync_identities(acs: FakeAcs, key: str = "") -> SyncIdentities:
    return SyncIdentities(acs.url, AzureKeyCredential(key or acs.resource.keys[0]), **quick(acs))


@asynccontextmanager
async def entra(acs: FakeAcs, secret: str = "") -> AsyncIterator[ClientSecretCredential]:
    async with ClientSecretCredential(
        acs.directory.tenant,
        acs.directory.client,
        secret or acs.directory.secret,
        authority=acs.url,
        disable_instance_discovery=True,
        **quick(acs),
    ) as credential:
        yield credential


@asynccontextmanager
async def identities(acs: FakeAcs, credential: Any = None) -> AsyncIterator[Any]:
    """Untyped, since each of the packages has a type of its own for one and the same identity."""
    given = credential or AzureKeyCredential(acs.resource.keys[0])
    async with CommunicationIdentityClient(acs.url, given, **quick(acs)) as client:
        yield client


@asynccontextmanager
async def rooms(acs: FakeAcs, credential: Any = None) -> AsyncIterator[Any]:
    async with RoomsClient(acs.url, credential or AzureKeyCredential(acs.resource.keys[0]), **quick(acs)) as client:
        yield client


@asynccontextmanager
async def chat_of(acs: FakeAcs, *scopes: str) -> AsyncIterator[tuple[Any, Any]]:
    """A new identity, and its chat."""
    async with AsyncExitStack() as stack:
        people = await stack.enter_async_context(identities(acs))
        user, token = await people.create_user_and_token(list(scopes) or ["chat"])
        credential = await stack.enter_async_context(CommunicationTokenCredential(token.token))
        yield user, await stack.enter_async_context(ChatClient(acs.url, credential, **quick(acs)))
