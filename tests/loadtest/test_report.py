"""How samples become rows: ratios are taken within a round, never across rounds."""

import msgspec
import pytest

from loadtest.report import Machine, Report, Sample, Settings, Spread, joined, summarise, table


def sample(number: int, server: str, server_us: float, workload: str = "echo") -> Sample:
    return Sample(
        round=number,
        workload=workload,
        in_flight=1,
        server=server,
        messages=1_000,
        sent=1_100,
        delivered=1_100,
        wall_s=0.5,
        server_us=server_us,
        generator_us=3.0,
        server_busy=0.9,
    )


SAMPLES = [
    sample(0, "auricle-json", 20.0),
    sample(0, "aiohttp", 10.0),
    sample(1, "auricle-json", 60.0),
    sample(1, "aiohttp", 20.0),
    sample(2, "auricle-json", 20.0),
    sample(2, "aiohttp", 20.0),
]


def test_ratios_are_those_of_each_round() -> None:
    auricle, bare = summarise(SAMPLES)
    assert (auricle.server, bare.server) == ("auricle-json", "aiohttp")
    assert auricle.server_us == Spread(20.0, 20.0, 60.0)
    assert auricle.ratio == Spread(2.0, 1.0, 3.0)
    assert bare.ratio == Spread(1.0, 1.0, 1.0)
    assert auricle.messages_per_s == Spread(2_000.0, 2_000.0, 2_000.0)


def test_joined_windows_weigh_as_many_messages_as_they_had() -> None:
    short = msgspec.structs.replace(sample(0, "aiohttp", 40.0), messages=500, wall_s=0.1, server_busy=0.3)
    whole = joined([sample(0, "aiohttp", 10.0), short])
    assert (whole.messages, whole.sent, whole.delivered) == (1_500, 2_200, 2_200)
    assert (whole.server_us, whole.generator_us) == (20.0, 3.0)
    assert whole.wall_s == pytest.approx(0.6)
    assert whole.server_busy == pytest.approx((0.9 * 0.5 + 0.3 * 0.1) / 0.6)


def test_each_workload_has_rows_of_its_own() -> None:
    rows = summarise([*SAMPLES, sample(0, "aiohttp", 7.0, "relay")])
    assert [(row.workload, row.server) for row in rows] == [
        ("echo", "auricle-json"),
        ("echo", "aiohttp"),
        ("relay", "aiohttp"),
    ]


def test_samples_without_a_yardstick_in_their_round_are_a_mistake() -> None:
    with pytest.raises(KeyError):
        summarise([sample(0, "auricle-json", 20.0)])


def test_the_table_has_a_line_for_every_row_with_median_and_range() -> None:
    report = Report(
        Settings(3, 50, 2.0, 0.5, 100, 0), Machine("3.11", "3.14", None, 2, "x"), summarise(SAMPLES), SAMPLES
    )
    lines = table(report).splitlines()
    (line,) = (line for line in lines if "auricle-json" in line)
    assert "20.0 (20.0-60.0)" in line
    assert "2.00 (1.00-3.00)" in line
    assert any("uvloop not installed" in line for line in lines)
