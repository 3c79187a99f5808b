"""Who is connected to a hub here, and how a message finds connections, users and groups anywhere.

The tables hold local connections only. Every send delivers locally first and then tells the other pods over
the backplane, already encoded, on a channel of the same name. Knows neither transports nor methods.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
from msgspec import Raw

from protocol.errors import Overloaded, Unavailable
from protocol.signalr.codec import Codec
from protocol.signalr.messages import Invocation

from .auth import Principal
from .backplane import Backplane
from .far_asks import Askers, FarAsks
from .outbound import ClientLink, Outbound, frame_of_another_pod

__all__ = ["NOBODY", "LifetimeManager"]

NOBODY: Final[frozenset[str]] = frozenset()


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    """A message between pods: excluded connections, framed bytes by format name, one at least.

    ``askers``: it is a question, and these wait. What is for everybody and in one format, as nearly always, is a frame
    and no envelope: that of JSON is known by its brace, that of MessagePack has a mark with which no array begins.
    """

    excluded: tuple[str, ...]
    frames: dict[str, bytes]
    askers: Askers | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode_envelope = msgspec.msgpack.Decoder(_Envelope).decode
_NO_MEMBERS: Final[dict[str, ClientLink]] = {}
_JSON_MARK: Final = b"{"
_MESSAGEPACK_MARK: Final = b"\xc1"


class LifetimeManager:
    """Connections, users and groups of one hub on this pod, and all routing.

    ``max_groups`` bounds the groups of one connection; ``reached`` is told when it does. ``on_people`` is given whose
    connection has come (true) or gone, ``on_group`` a group and the connection that has joined it, ``on_group_told`` a
    group that another pod sends something to, before its members here have it.
    """

    def __init__(
        self,
        hub: str,
        backplane: Backplane,
        *,
        max_groups: int,
        reached: Callable[[str], None],
        far: FarAsks | None = None,
    ) -> None:
        self._hub = hub
        self._groups = f"{hub}:group:"
        self.everybody = f"{hub}:all"
        self._far = far
        self._backplane = backplane
        self._max_groups = max_groups
        self._reached = reached
        self._links: dict[str, ClientLink] = {}
        # Dicts with no values: sets that keep their order, so that a broadcast is repeatable.
        self._members: dict[str, dict[str, ClientLink]] = {}
        self._groups_of: dict[str, set[str]] = {}
        self.on_group: Callable[[str, str], None] = lambda *_: None
        self.on_group_told: Callable[[str], None] | None = None
        self.on_people: Callable[[Principal, bool], None] = lambda *_: None

    def __len__(self) -> int:
        """The number of local connections."""
        return len(self._links)

    def links(self) -> tuple[ClientLink, ...]:
        """The local connections."""
        return tuple(self._links.values())

    def add(self, link: ClientLink) -> None:
        """A connection has finished its handshake."""
        self._links[link.connection_id] = link
        self._groups_of[link.connection_id] = set()
        channels = self._own_channels(link)
        for channel in channels:
            self._join(channel, link)
        # Whoever is told that it is connected is there for other pods too.
        self._backplane.until_heard(channels, link.hold_back)
        self.on_people(link.principal, True)

    def remove(self, link: ClientLink) -> None:
        """A connection is gone: it leaves everything. Unknown ones are ignored."""
        if self._links.pop(link.connection_id, None) is None:
            return
        groups = self._groups_of.pop(link.connection_id)
        for channel in (*self._own_channels(link), *map(self.group, groups)):
            self._leave(channel, link)
        self.on_people(link.principal, False)

    def add_to_group(self, connection_id: str, group: str) -> None:
        """Join a local connection to a group; joining twice is joining once.

        Raises:
            Overloaded: the connection is in as many groups as it may be.
        """
        link = self._links.get(connection_id)
        if link is None:
            return
        groups = self._groups_of[connection_id]
        is_new = group not in groups
        if is_new and len(groups) >= self._max_groups:
            self._reached("max_groups")
            raise Overloaded(f"a connection may be in at most {self._max_groups} groups")
        groups.add(group)
        self._join(self.group(group), link)
        self._backplane.until_heard((self.group(group),), link.hold_back)
        if is_new:
            self.on_group(group, connection_id)

    def remove_from_group(self, connection_id: str, group: str) -> None:
        """Take a local connection out of a group; not being in it is no error."""
        link = self._links.get(connection_id)
        if link is not None and group in self._groups_of[connection_id]:
            self._groups_of[connection_id].discard(group)
            self._leave(self.group(group), link)

    def remove_user_from_group(self, clinic: str, user: str, group: str) -> None:
        """Take every local connection of a user out of a group."""
        for connection_id in tuple(self._members.get(self.user(clinic, user), ())):
            self.remove_from_group(connection_id, group)

    async def ask(
        self, connection_id: str, target: str, arguments: tuple[object, ...], source: Codec | None
    ) -> tuple[Raw, Codec]:
        """Call a client method of one connection, wherever it is: the result, and its format.

        Raises as ``ClientLink.ask`` says, and Unavailable: there is no such connection.
        """
        link = self._links.get(connection_id)
        if link is not None:
            return await link.ask(target, arguments, source), link.codec
        if self._far is None:
            raise Unavailable("no such connection")
        frames = Outbound(Invocation(target=target, arguments=arguments), source).frames()
        return await self._far.ask(self.connection(connection_id), lambda askers: _encode(((), frames, askers)))

    # Whom it can be sent to

    def connection(self, connection_id: str) -> str:
        """The channel of one connection."""
        return f"{self._hub}:connection:{connection_id}"

    def user(self, clinic: str, user: str) -> str:
        """The channel of all connections of a user of a clinic: two clinics may give one name to two people."""
        return f"{self._hub}:user:{clinic}\0{user}"

    def group(self, name: str) -> str:
        """The channel of the members of a group; it may have none."""
        return self._groups + name

    def send(self, channel: str, outbound: Outbound, excluded: frozenset[str] = NOBODY) -> None:
        """To all who listen to a channel but the excluded connections, wherever they are; nobody is no error."""
        if channel in self._members:
            self.send_here(channel, outbound, excluded)
        self._backplane.publish(channel, partial(_encode_envelope, outbound, excluded))

    def send_here(self, channel: str, outbound: Outbound, excluded: frozenset[str] = NOBODY) -> None:
        """To those of this pod: those elsewhere hear of it by themselves."""
        members = self._members.get(channel)
        if members:
            # A send may end a slow connection, which changes the table.
            if excluded:
                members = {key: link for key, link in members.items() if key not in excluded}
            # Before anybody is sent anything: what one format cannot say nobody may hear.
            for codec in {link.codec for link in members.values()}:
                outbound.frame(codec)
            for link in tuple(members.values()):
                link.send(outbound)

    def is_here(self, connection_id: str) -> bool:
        """Whether it is a local connection."""
        return connection_id in self._links

    def has_here(self, group: str) -> bool:
        """Whether it has local members."""
        return self.group(group) in self._members

    def groups_here(self, prefix: str) -> tuple[str, ...]:
        """The groups with local members whose names begin so."""
        begin = self.group(prefix)
        return tuple(channel[len(begin) - len(prefix) :] for channel in self._members if channel.startswith(begin))

    def _own_channels(self, link: ClientLink) -> tuple[str, ...]:
        principal = link.principal
        return self.everybody, self.user(principal.clinic, principal.user), self.connection(link.connection_id)

    def _join(self, channel: str, link: ClientLink) -> None:
        members = self._members.get(channel)
        if members is None:
            members = self._members[channel] = {}
            group = channel.removeprefix(self._groups) if channel.startswith(self._groups) else None
            self._backplane.subscribe(channel, partial(self._receive, channel, group))
        members[link.connection_id] = link

    def _leave(self, channel: str, link: ClientLink) -> None:
        members = self._members.get(channel)
        if members is None:
            return
        members.pop(link.connection_id, None)
        if not members:
            del self._members[channel]
            self._backplane.unsubscribe(channel)

    def _receive(self, channel: str, group: str | None, body: bytes) -> None:
        excluded: tuple[str, ...] = ()
        mark = body[:1]
        if mark == _JSON_MARK:
            frames = {"json": body}
        elif mark == _MESSAGEPACK_MARK:
            frames = {"messagepack": body[1:]}
        else:
            envelope = _decode_envelope(body)
            frames, excluded = envelope.frames, envelope.excluded
            if envelope.askers is not None:
                self._receive_question(channel, frames, envelope.askers)
                return
        if group is not None and self.on_group_told is not None:
            self.on_group_told(group)
        # A send may end a slow connection, which changes the table.
        for connection_id, link in tuple(self._members.get(channel, _NO_MEMBERS).items()):
            if connection_id in excluded:
                continue
            codec = link.codec
            frame = frames.get(codec.name)
            if frame is None:
                frame = frames[codec.name] = frame_of_another_pod(frames, codec)
            link.send_frame(frame)

    def _receive_question(self, channel: str, frames: dict[str, bytes], askers: Askers) -> None:
        if self._far is not None:
            for link in tuple(self._members.get(channel, _NO_MEMBERS).values()):
                self._far.asked(link, frames, askers)


def _encode_envelope(outbound: Outbound, excluded: frozenset[str]) -> bytes:
    only = None if excluded else outbound.only_format()
    if only is None:
        return _encode((tuple(excluded), outbound.frames()))
    frame = outbound.frame(only)
    return _MESSAGEPACK_MARK + frame if only.binary else frame
