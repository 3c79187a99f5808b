"""The benchmark of two pods as a command: a very short run over a real Valkey, and what is shown of it."""

import json
import subprocess
import sys

import pytest

from loadtest.relay_pods import main
from loadtest.relay_report import RelayReport, rows, table
from loadtest.report import Machine, Sample, Settings

SERVERS = {"auricle-json", "auricle-messagepack", "socketio-python", "socketio-node"}
SHORT = ("--rounds", "1", "--pairs", "2", "--seconds", "0.25", "--json")


@pytest.mark.timeout(300)  # npm installs the peer on the first time
def test_a_short_run_counts_checked_messages_between_the_pods_of_every_server() -> None:
    command = [sys.executable, "-m", "loadtest.relay_pods", *SHORT, "--node"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {sample["server"] for sample in report["samples"]} == SERVERS
    for sample in report["samples"]:
        assert sample["sent"] == sample["delivered"] >= sample["messages"] > 0
        # What goes between pods goes over Valkey, which costs it something.
        assert min(sample["serverUs"], sample["besideUs"]) > 0
    assert {row["server"] for row in report["rows"]} == SERVERS


@pytest.mark.parametrize(("option", "words"), [("--pairs=0", "1 to 1000"), ("--chars=23", "24 to 16384")])
def test_options_outside_their_bounds_get_exit_code_2(
    option: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([option])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def sample(server: str, number: int, server_us: float) -> Sample:
    return Sample(number, "round_trip", 1, server, 100, 120, 120, 1.0, server_us, 5.0, 0.5, beside_us=3.0)


def test_ratios_are_those_within_a_round_to_both_peers() -> None:
    samples = [
        *(sample("auricle-json", number, us) for number, us in enumerate((10.0, 30.0))),
        *(sample("socketio-python", number, us) for number, us in enumerate((100.0, 150.0))),
        *(sample("socketio-node", number, us) for number, us in enumerate((40.0, 50.0))),
    ]
    ours = rows(samples)[0]
    assert (ours.pods_us.median, ours.valkey_us.median) == (20.0, 3.0)
    assert (ours.to_python.min, ours.to_python.max) == (0.1, 0.2)
    assert ours.to_node is not None
    assert (ours.to_node.min, ours.to_node.max) == (0.25, 0.6)
    settings, machine = Settings(2, 4, 1.0, 0.1, 1024, 0), Machine("3.11", "3.14", None, 2, "here")
    shown = table(RelayReport(settings, machine, rows(samples), samples))
    assert "20.0 (10.0-30.0)" in shown
    assert "0.150 (0.100-0.200)" in shown


def test_without_node_there_is_no_ratio_to_it() -> None:
    samples = [sample("auricle-json", 0, 10.0), sample("socketio-python", 0, 100.0)]
    assert [row.to_node for row in rows(samples)] == [None, None]
