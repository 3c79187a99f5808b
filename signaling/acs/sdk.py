"""``CommunicationService`` over Microsoft's own asynchronous clients, which are loaded with the first request.

One aiohttp session serves all of them. Their own retries, logs and traces are off: a retry is counted and waited for in
``gate``, and what they would log or trace are addresses with identities in them. Read ``SdkService`` first.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from media.acs import TOKEN_MINUTES, AcsAddress, Reason, Trouble, trouble_of

from .gate import Gate
from .service import AcsMessage, AcsToken
from .trust import trusting

if TYPE_CHECKING:
    from azure.communication.chat.aio import ChatClient, ChatThreadClient
    from azure.communication.identity.aio import CommunicationIdentityClient
    from azure.core.pipeline.transport import AsyncHttpTransport

__all__ = ["Gates", "SdkService", "translated"]

# The decorators of the SDKs trace as soon as somebody loads OpenTelemetry.
_QUIET: Final[Mapping[str, Any]] = {"tracing_options": {"enabled": False}}
_TTL: Final = timedelta(minutes=TOKEN_MINUTES)
_PAGE: Final = 100
_OURS: Final = "auricle"


@dataclass(frozen=True, slots=True)
class Gates:
    """By kind of request, as the service counts them."""

    tokens: Gate
    removals: Gate
    rooms: Gate
    chat: Gate


def translated(error: BaseException) -> Trouble | None:
    """What an error of the SDKs means; None for one that is none of theirs."""
    from azure.core.exceptions import (
        AzureError,
        ClientAuthenticationError,
        HttpResponseError,
        ServiceRequestError,
        ServiceResponseError,
    )

    if isinstance(error, HttpResponseError) and error.status_code is not None:
        headers = getattr(error.response, "headers", None) or {}
        return trouble_of(error.status_code, headers.get("Retry-After"))
    if isinstance(error, ClientAuthenticationError):
        # Entra gives no token: there is no credential, or it is no good.
        return Trouble(Reason.REFUSED)
    if isinstance(
        error, ServiceRequestError | ServiceResponseError | HttpResponseError | aiohttp.ClientError | OSError
    ):
        return Trouble(Reason.AWAY, 1.0)
    return Trouble(Reason.MISTAKE) if isinstance(error, AzureError) else None


class SdkService:
    """See ``CommunicationService``. ``ca``: a file with a certificate to trust, "" for the known ones alone."""

    def __init__(self, address: AcsAddress, gates: Gates, *, ca: str = "") -> None:
        self._address = address
        self._gates = gates
        self._ca = ca
        self._http: aiohttp.ClientSession | None = None
        self._transport: AsyncHttpTransport[Any, Any] | None = None
        self._people: CommunicationIdentityClient | None = None
        self._rooms_client: Any = None
        self._given: Any = None

    # Identities

    async def create(self, scopes: Sequence[str], *, until_s: float | None = None) -> tuple[str, AcsToken]:
        """See ``CommunicationService``."""

        async def make() -> tuple[str, AcsToken]:
            client = self._identities()
            user, token = await client.create_user_and_token(list(scopes), token_expires_in=_TTL, **_QUIET)
            return user.properties["id"], _token(token)

        return await self._gates.tokens.admit(make, until_s=until_s)

    async def token(self, identity: str, scopes: Sequence[str], *, until_s: float | None = None) -> AcsToken:
        """See ``CommunicationService``."""

        async def make() -> AcsToken:
            user = self._user(identity)
            return _token(await self._identities().get_token(user, list(scopes), token_expires_in=_TTL, **_QUIET))

        return await self._gates.tokens.admit(make, until_s=until_s)

    async def revoke(self, identity: str) -> None:
        """See ``CommunicationService``."""
        await self._gates.removals.admit(lambda: self._identities().revoke_tokens(self._user(identity), **_QUIET))

    async def delete(self, identity: str) -> None:
        """See ``CommunicationService``."""
        await self._gates.removals.admit(lambda: self._identities().delete_user(self._user(identity), **_QUIET))

    # Rooms

    async def open_room(self, opens_s: float, until_s: float, people: Mapping[str, str]) -> str:
        """See ``CommunicationService``."""

        async def make() -> str:
            opens, closes = (datetime.fromtimestamp(at_s, UTC) for at_s in (opens_s, until_s))
            members = _members(people)
            room = await self._rooms().create_room(valid_from=opens, valid_until=closes, participants=members, **_QUIET)
            return str(room.id)

        return await self._gates.rooms.admit(make)

    async def set_room(self, room: str, people: Mapping[str, str]) -> None:
        """See ``CommunicationService``."""

        async def make() -> None:
            await self._rooms().add_or_update_participants(room_id=room, participants=_members(people), **_QUIET)

        await self._gates.rooms.admit(make)

    async def leave_room(self, room: str, people: Sequence[str]) -> None:
        """See ``CommunicationService``."""

        async def make() -> None:
            members = _members(dict.fromkeys(people, "Attendee"))
            await self._rooms().remove_participants(room_id=room, participants=members, **_QUIET)

        await self._gates.rooms.admit(make)

    async def close_room(self, room: str) -> None:
        """See ``CommunicationService``."""
        await self._gates.rooms.admit(lambda: self._rooms().delete_room(room, **_QUIET))

    # Threads

    async def open_thread(self, token: AcsToken, topic: str, key: str) -> str:
        """See ``CommunicationService``."""

        async def make() -> str:
            made = await self._chat(token).create_chat_thread(topic, idempotency_token=key, **_QUIET)
            return str(made.chat_thread.id)

        return await self._gates.chat.admit(make)

    async def add(self, token: AcsToken, thread: str, identity: str, name: str) -> None:
        """See ``CommunicationService``. Whoever comes later reads what was written before, as in ours."""
        from azure.communication.chat import ChatParticipant, CommunicationUserIdentifier

        async def make() -> None:
            member = ChatParticipant(
                identifier=CommunicationUserIdentifier(identity),
                display_name=name,
                share_history_time=datetime.fromtimestamp(0, UTC),
            )
            failed = await self._thread(token, thread).add_participants([member], **_QUIET)
            if failed:
                raise Trouble(Reason.UNKNOWN)

        await self._gates.chat.admit(make)

    async def remove(self, token: AcsToken, thread: str, identity: str) -> None:
        """See ``CommunicationService``."""
        from azure.communication.chat import CommunicationUserIdentifier

        who = CommunicationUserIdentifier(identity)
        await self._gates.chat.admit(lambda: self._thread(token, thread).remove_participant(who, **_QUIET))

    async def close_thread(self, token: AcsToken, thread: str) -> None:
        """See ``CommunicationService``."""
        await self._gates.chat.admit(lambda: self._chat(token).delete_chat_thread(thread, **_QUIET))

    async def write(self, token: AcsToken, thread: str, text: str, *, name: str, ours: str) -> None:
        """See ``CommunicationService``."""

        async def make() -> None:
            client = self._thread(token, thread)
            await client.send_message(text, sender_display_name=name, metadata={_OURS: ours}, **_QUIET)

        await self._gates.chat.admit(make)

    async def since(self, token: AcsToken, thread: str, at_s: float) -> tuple[AcsMessage, ...]:
        """See ``CommunicationService``."""

        async def make() -> tuple[AcsMessage, ...]:
            start = datetime.fromtimestamp(at_s, UTC)
            pages = self._thread(token, thread).list_messages(results_per_page=_PAGE, start_time=start, **_QUIET)
            found = [one async for one in pages]
            return tuple(_message(one) for one in reversed(found) if _is_text(one))

        return await self._gates.chat.admit(make)

    async def close(self) -> None:
        """See ``CommunicationService``."""
        for one in (self._given, self._http):
            if one is not None and hasattr(one, "close"):
                await one.close()
        self._given = self._http = self._transport = self._people = self._rooms_client = None

    # The SDKs

    def _options(self) -> dict[str, Any]:
        """What every client is made with."""
        from azure.core.pipeline.policies import SansIOHTTPPolicy
        from azure.core.pipeline.transport import AioHttpTransport

        if self._transport is None:
            # Whatever they say beside their policies: texts of errors quote addresses.
            azure = logging.getLogger("azure")
            azure.addHandler(logging.NullHandler())
            azure.propagate = False
            # How many at a time is counted in ``gate``.
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=trusting(self._ca)),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
            self._transport = AioHttpTransport(session=self._http, session_owner=False)
        silent: SansIOHTTPPolicy[Any, Any] = SansIOHTTPPolicy()
        return {
            "transport": self._transport,
            "retry_total": 0,
            "logging_policy": silent,
            "http_logging_policy": silent,
            "redirect_max": 0,
        }

    def _credential(self) -> Any:
        """The access key, or what Entra gives; once for all clients, since it keeps Entra's tokens."""
        if self._given is None and self._address.key:
            from azure.core.credentials import AzureKeyCredential

            self._given = AzureKeyCredential(self._address.key)
        elif self._given is None:
            try:
                from azure.identity.aio import DefaultAzureCredential
            except ImportError:
                raise Trouble(Reason.REFUSED) from None
            more = {"connection_verify": self._ca} if self._ca else {}
            self._given = DefaultAzureCredential(logging_enable=False, **more)
        return self._given

    def _identities(self) -> "CommunicationIdentityClient":
        from azure.communication.identity.aio import CommunicationIdentityClient

        if self._people is None:
            self._people = CommunicationIdentityClient(self._address.endpoint, self._credential(), **self._options())
        return self._people

    def _rooms(self) -> Any:
        try:
            from azure.communication.rooms.aio import RoomsClient
        except ImportError:
            # It is in the extra ``azure``; a server whose plan has rooms refuses to start without.
            raise Trouble(Reason.MISTAKE) from None
        if self._rooms_client is None:
            self._rooms_client = RoomsClient(self._address.endpoint, self._credential(), **self._options())
        return self._rooms_client

    def _chat(self, token: AcsToken) -> "ChatClient":
        from azure.communication.chat.aio import ChatClient, CommunicationTokenCredential

        return ChatClient(self._address.endpoint, CommunicationTokenCredential(token.token), **self._options())

    def _thread(self, token: AcsToken, thread: str) -> "ChatThreadClient":
        # What the other client was made with does not come along.
        return self._chat(token).get_chat_thread_client(thread, **self._options())

    def _user(self, identity: str) -> Any:
        from azure.communication.identity import CommunicationUserIdentifier

        return CommunicationUserIdentifier(identity)


def _members(people: Mapping[str, str]) -> list[Any]:
    from azure.communication.rooms import CommunicationUserIdentifier, RoomParticipant

    return [
        RoomParticipant(communication_identifier=CommunicationUserIdentifier(who), role=role)
        for who, role in people.items()
    ]


def _token(given: Any) -> AcsToken:
    """``expires_on`` of an identity's token is text, whatever its type says."""
    ends = given.expires_on
    at_s = datetime.fromisoformat(ends).timestamp() if isinstance(ends, str) else float(ends)
    return AcsToken(given.token, at_s)


def _is_text(message: Any) -> bool:
    return str(getattr(message.type, "value", message.type)) in ("text", "html") and message.deleted_on is None


def _message(message: Any) -> AcsMessage:
    return AcsMessage(
        id=str(message.id),
        sender="" if message.sender is None else str(message.sender.raw_id),
        text="" if message.content is None else message.content.message or "",
        at_s=message.created_on.timestamp() if message.created_on else time.time(),
        ours=(message.metadata or {}).get(_OURS, ""),
    )
