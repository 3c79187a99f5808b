"""Rooms over Microsoft's own client."""

from datetime import UTC, datetime, timedelta

from azure.communication.rooms import ParticipantRole, RoomParticipant
from azure.communication.rooms._shared.models import CommunicationUserIdentifier

from clients.fake_acs.service import FakeAcs
from tests.clients.fake_acs.sdks import entra, identities, rooms
from tests.clients.fake_acs.test_identity import status_of


async def test_a_room_and_its_people(acs: FakeAcs) -> None:
    now = datetime.now(UTC)
    async with identities(acs) as people, rooms(acs) as client:
        ann, pat = await people.create_user(), await people.create_user()
        presenter = RoomParticipant(communication_identifier=ann, role=ParticipantRole.PRESENTER)
        until = now + timedelta(hours=1)
        room = await client.create_room(valid_from=now, valid_until=until, participants=[presenter])
        assert (await client.get_room(room.id)).valid_until == room.valid_until
        attendee = RoomParticipant(communication_identifier=pat)
        await client.add_or_update_participants(room_id=room.id, participants=[attendee])
        found = {one.communication_identifier.raw_id: one.role async for one in client.list_participants(room.id)}
        assert found == {ann.raw_id: "Presenter", pat.raw_id: "Attendee"}
        await client.remove_participants(room_id=room.id, participants=[ann])
        assert [one.role async for one in client.list_participants(room.id)] == ["Attendee"]
        assert [one.id async for one in client.list_rooms()] == [room.id]
        await client.update_room(room_id=room.id, valid_from=now, valid_until=until + timedelta(hours=1))
        await client.delete_room(room.id)
        assert await status_of(client.get_room(room.id)) == 404
    assert len(acs.breaches) == 1


async def test_what_a_room_cannot_be(acs: FakeAcs) -> None:
    now = datetime.now(UTC)
    nobody = RoomParticipant(communication_identifier=CommunicationUserIdentifier("8:acs:nobody"))
    async with rooms(acs) as client:
        assert await status_of(client.create_room(valid_from=now, valid_until=now - timedelta(hours=1))) == 400
        assert await status_of(client.create_room(participants=[nobody])) == 400


async def test_entra_in_place_of_a_key(acs: FakeAcs) -> None:
    acs.local_auth = False
    async with entra(acs) as credential, rooms(acs, credential) as client:
        assert (await client.create_room()).id in acs.resource.rooms
