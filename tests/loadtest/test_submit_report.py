"""From samples and metrics to the figures of the submit benchmark."""

import pytest

from loadtest.submit_report import Commits, Quantiles, Result, commits_between, table

BEFORE = """# HELP auricle_database_commit_seconds How long commits took.
auricle_database_commit_seconds_bucket{le="0.001"} 4.0
auricle_database_commit_seconds_bucket{le="0.01"} 5.0
auricle_database_commit_seconds_bucket{le="+Inf"} 5.0
auricle_database_commit_seconds_count 5.0
auricle_database_commit_seconds_sum 0.1
auricle_database_commit_writes_sum 9.0
"""
AFTER = """auricle_database_commit_seconds_bucket{le="0.001"} 64.0
auricle_database_commit_seconds_bucket{le="0.01"} 104.0
auricle_database_commit_seconds_bucket{le="+Inf"} 105.0
auricle_database_commit_seconds_count 105.0
auricle_database_commit_seconds_sum 0.5
auricle_database_commit_writes_sum 309.0
"""
TENTHS = Quantiles.of([number / 10_000 for number in range(1, 1_001)])


def result(commits: Commits | None) -> Result:
    return Result(
        database="sqlite",
        sessions=2,
        rate=4.0,
        wall_s=125.0,
        late=3,
        offer=TENTHS,
        answer=TENTHS,
        confirmed=TENTHS,
        commits=commits,
        server_ms=1.5,
        server_busy=0.25,
        generator_ms=0.5,
    )


def test_a_quantile_is_the_least_value_that_so_many_are_not_above() -> None:
    assert (TENTHS.p50_ms, TENTHS.p99_ms, TENTHS.p999_ms) == pytest.approx((50.0, 99.0, 99.9))
    assert TENTHS.mean_ms == pytest.approx(50.05)
    assert Quantiles.of([2.0]) == Quantiles(1, 2_000.0, 2_000.0, 2_000.0, 2_000.0)


def test_commits_are_those_between_two_looks() -> None:
    commits = commits_between(BEFORE, AFTER)
    assert commits is not None
    assert (commits.count, commits.writes) == (100, 300)
    assert (commits.mean_ms, commits.p50_ms, commits.p99_ms) == pytest.approx((4.0, 1.0, 10.0))
    assert commits_between(AFTER, AFTER) is None
    assert commits_between("", "") is None


def test_the_table_tells_the_share_of_the_log_where_there_is_one() -> None:
    text = table([result(commits_between(BEFORE, AFTER)), result(None)])
    assert "8 of 8 changes a second, 3 not asked for" in text
    assert "100 commits of 3.0 writes, mean 4.00 ms, p50 <= 1 ms, p99 <= 10 ms; one is 8 % of Submit to Offer" in text
    assert text.count("commits of") == 1
