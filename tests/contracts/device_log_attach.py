"""What every device log does when a phone attaches and a fitter takes the lease."""

from collections.abc import Awaitable, Callable

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from fitting.digest import content_digests
from protocol.contract.devices import EarTruth, RegisteredAid
from protocol.errors import BadArgument
from tests.contracts.device_log_bench import DEVICE, FRESH, Bench, digest, images, louder, refused
from tests.fitting.contents import OTC6, content, flat

__all__ = ["AttachContract", "LeaseContract"]


class AttachContract:
    async def test_a_new_device_has_a_log_without_a_revision(self, bench: Bench) -> None:
        head = await bench.head()
        assert head.revision is None
        assert (head.last_seq, head.last_terminal, head.fence, head.generation) == (0, 0, 0, 0)
        assert head.aids["right"].serial == "right-1"
        assert head.in_aid.right is UNSET

    async def test_a_device_is_created_once(self, bench: Bench) -> None:
        aid = RegisteredAid(serial="right-9", model="ref10", firmware="1.0")
        assert refused(await bench.log.create(DEVICE, {"right": aid})).code == "already_exists"
        assert (await bench.head()).aids["right"].serial == "right-1"
        assert await bench.log.create("d-2", {"right": aid}) is None

    async def test_an_unknown_device_is_not_found(self, bench: Bench) -> None:
        await bench.fitted()
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: bench.log.head("d-9"),
            lambda: bench.log.acquire("d-9", session="s", holder="ann"),
            lambda: bench.try_attach(device="d-9"),
            lambda: bench.try_report(1, "received", device="d-9"),
        ]
        proposal = await bench.proposal(device="d-9")
        calls.append(lambda: bench.log.append(proposal))
        for call in calls:
            assert refused(await call()).code == "not_found"
        await bench.log.detach("d-9", 1)
        assert await bench.log.next_offer("d-9", 1) is None
        assert await bench.log.reoffer("d-9", 1, older_than_s=0) is None
        assert await bench.log.delivery("d-9", 1) is None
        assert await bench.log.pending("d-9") == ()
        assert await bench.log.changed_since("d-9", 0) == ()

    async def test_the_first_read_back_is_the_first_revision(self, bench: Bench) -> None:
        attached = await bench.attach(right=images(FRESH, "right", battery=71))
        assert (attached.generation, attached.from_seq, attached.resume) == (1, 1, "ok")
        assert attached.changed == ("right", "left")
        head = await bench.head()
        revision = await bench.newest()
        assert (revision.parent, revision.origin, revision.content) == ("", "readback", FRESH)
        assert revision.digests == content_digests(FRESH)
        proof = digest(FRESH, "left")
        assert head.in_aid.left == EarTruth(ram=proof, nvm=proof, cause="read_back", at="2023-11-14T22:13:20.000Z")
        assert (head.battery, head.last_seq) == (71, 0)

    async def test_one_aid_alone_makes_a_revision_of_one_ear(self, bench: Bench) -> None:
        await bench.attach(None, left=images(FRESH, "left"))
        assert (await bench.newest()).content == content(left=flat())

    async def test_a_phone_without_its_aids_attaches_but_proves_nothing(self, bench: Bench) -> None:
        attached = await bench.attach(None)
        assert (attached.changed, attached.generation) == ((), 1)
        assert (await bench.head()).revision is None

    async def test_another_aid_is_refused_and_changes_nothing(self, bench: Bench) -> None:
        for wrong in (images(FRESH, "right", serial="right-2"), images(FRESH, "left", serial="right-1")):
            refusal = refused(await bench.try_attach(right=wrong))
            assert (refusal.code, refusal.ear) == ("wrong_device", "right")
        aid = RegisteredAid(serial="right-1", model="ref10", firmware="1.0")
        await bench.log.create("d-2", {"right": aid})
        assert refused(await bench.try_attach(device="d-2")).code == "wrong_device"
        head = await bench.head()
        assert (head.generation, head.revision, head.in_aid.right) == (0, None, UNSET)

    async def test_an_image_that_its_digest_is_not_of_is_refused(self, bench: Bench) -> None:
        lie = images(FRESH, "left", ram=digest(FRESH, "right"))
        refusal = refused(await bench.try_attach(left=lie))
        assert (refusal.code, refusal.ear) == ("wrong_digest", "left")
        assert (await bench.head()).generation == 0

    async def test_first_read_backs_that_are_no_configuration_change_nothing(self, bench: Bench) -> None:
        other = content(OTC6, left=flat(OTC6))
        with pytest.raises(BadArgument, match="different bands"):
            await bench.try_attach(left=images(other, "left"))
        assert (await bench.head()).generation == 0

    async def test_each_attach_is_a_new_generation(self, bench: Bench) -> None:
        await bench.attach()
        again = await bench.attach()
        assert (again.generation, again.changed) == (2, ())

    async def test_what_was_changed_elsewhere_is_what_the_next_change_starts_from(self, bench: Bench) -> None:
        await bench.attach()
        before = await bench.newest()
        elsewhere = louder(FRESH, "left", by=60)
        assert (await bench.attach(elsewhere)).changed == ("left",)
        head = await bench.head()
        assert head.revision is not None
        assert (head.revision.content, head.revision.origin) == (elsewhere, "readback")
        assert head.revision.parent == before.revision_id
        assert isinstance(head.in_aid.left, EarTruth)
        assert head.in_aid.left.ram == digest(elsewhere, "left")

    async def test_resume_tells_how_the_phones_memory_compares(self, bench: Bench) -> None:
        epoch = (await bench.attach()).epoch
        assert (await bench.attach(epoch=epoch)).resume == "ok"
        assert (await bench.attach(epoch="another")).resume == "reset"
        assert (await bench.attach(epoch="")).resume == "ok"
        await bench.acquire()
        await bench.apply()
        held = (await bench.newest()).content
        assert (await bench.attach(held, epoch="")).resume == "reset"
        known = await bench.attach(held, epoch=epoch, last_terminal=1)
        assert (known.resume, known.from_seq, known.epoch) == ("ok", 2, epoch)

    async def test_a_phone_that_is_ahead_gets_another_epoch_and_no_number_twice(self, bench: Bench) -> None:
        epoch = (await bench.attach()).epoch
        ahead = await bench.attach(epoch=epoch, last_terminal=7)
        assert (ahead.resume, ahead.from_seq) == ("ahead", 1)
        assert ahead.epoch != epoch
        await bench.acquire()
        assert (await bench.submit()).epoch == ahead.epoch

    async def test_a_fence_that_the_phone_has_seen_is_never_granted_again(self, bench: Bench) -> None:
        await bench.fitted()
        stale = await bench.proposal()
        await bench.attach(fence_max=9)
        assert refused(await bench.log.append(stale)).code == "fence_stale"
        assert (await bench.acquire()).fence == 10
        await bench.attach(fence_max=10)
        await bench.submit()


class LeaseContract:
    async def test_one_session_holds_the_device_at_a_time(self, bench: Bench) -> None:
        first = await bench.acquire()
        assert (first.fence, first.renewed, first.lease_for_s) == (1, False, 15.0)
        bench.clock.pass_s(5)
        other = refused(await bench.log.acquire(DEVICE, session="s-2", holder="bob"))
        assert (other.code, other.retryable, other.retry_after_ms) == ("lease_held", True, 10_000)
        lease = (await bench.head()).lease
        assert lease is not None
        assert (lease.holder, lease.session, lease.fence) == ("ann", "s-1", 1)

    async def test_a_lease_is_renewed_with_the_same_fence_and_ends_when_it_is_not(self, bench: Bench) -> None:
        await bench.acquire()
        bench.clock.pass_s(14)
        again = await bench.acquire()
        assert (again.fence, again.renewed) == (1, True)
        bench.clock.pass_s(14)
        assert (await bench.head()).lease is not None
        bench.clock.pass_s(1)
        assert (await bench.head()).lease is None

    async def test_one_claim_cannot_use_all_fences_up(self, bench: Bench) -> None:
        await bench.fitted()
        for _ in range(3):
            await bench.attach(fence_max=2**53 - 1)
        assert (await bench.acquire("s-2", "bob")).fence < 2**35

    async def test_after_a_takeover_the_old_fence_is_stale(self, bench: Bench) -> None:
        await bench.fitted()
        old = await bench.proposal()
        bench.clock.pass_s(15)
        assert refused(await bench.log.append(old)).code == "lease_lost"
        assert (await bench.acquire("s-2", "bob")).fence == 2
        assert refused(await bench.log.append(old)).code == "fence_stale"
        assert refused(await bench.log.append(replace(old, fence=3))).code == "fence_stale"
        assert refused(await bench.log.append(await bench.proposal())).code == "lease_lost"
        await bench.submit(author="bob")
