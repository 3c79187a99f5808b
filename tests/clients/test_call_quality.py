"""What becomes between two looks at a connection, summed up as the contract has it."""

from msgspec import UNSET

from clients.call_quality import Counted, summed_up
from protocol.contract.calls import ReportQuality


def between(before: Counted, now: Counted) -> ReportQuality:
    return summed_up(before, now, within_s=5, visit="v1", call_id="c1", to=1)


def test_only_what_has_come_since_the_last_look_counts() -> None:
    before = Counted(received=900, lost=100, in_bytes=10_000, out_bytes=5_000, jitter_ms=9, rtt_ms=80)
    now = Counted(received=1_090, lost=110, in_bytes=35_000, out_bytes=5_000, jitter_ms=4, rtt_ms=70)
    found = between(before, now)
    assert (found.loss_permille, found.jitter_ms, found.rtt_ms) == (50, 4, 70)
    assert (found.in_kbps, found.out_kbps) == (40, 0)


def test_nothing_at_all_and_counters_that_go_back() -> None:
    found = between(Counted(), Counted())
    assert (found.loss_permille, found.jitter_ms, found.rtt_ms, found.in_kbps) == (0, 0, UNSET, 0)
    back = between(Counted(received=9, lost=9, in_bytes=9), Counted(received=5, lost=5, rtt_ms=10**9))
    assert (back.loss_permille, back.in_kbps, back.rtt_ms) == (0, 0, 60_000)
