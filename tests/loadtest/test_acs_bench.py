"""The crowd of calls over ACS, small: more is asked for than they give at once, and everybody gets his call."""

import pytest

from loadtest.acs_bench import AcsLoad, AcsReport, main, run


@pytest.mark.timeout(120)
async def test_a_crowd_waits_for_its_turn_and_nobody_is_left_out() -> None:
    report = await run(AcsLoad(visits=5, within_s=0.5, throttle=("create=4/2",)))
    assert report.ok, report
    assert report.over_acs == 10
    assert (report.elsewhere, report.failed) == (0, 0)
    assert report.throttled > 0
    # One of each, and the one that writes in the threads; none was made in vain.
    assert report.identities == 11


def test_a_report_says_when_it_did_not_hold() -> None:
    report = AcsReport(
        load=AcsLoad(visits=2),
        machine={},
        over_acs=3,
        elsewhere=1,
        failed=0,
        throttled=0,
        identities=4,
        start_p50_s=1.0,
        start_p99_s=1.0,
        longest_s=1.0,
    )
    assert not report.ok


def test_what_cannot_be_throttled_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--visits", "1", "--throttle", "sms=1/1"]) == 1
    assert "printed no ready line" in capsys.readouterr().err
