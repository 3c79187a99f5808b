"""Every bound of the configuration has its counter, its test and its row in the documentation; a new one fails here."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from signaling.config import Config

ROOT = Path(__file__).parents[2]
COUNTER = "auricle_bound_reached_total"
# Numbers that nobody can run into from outside: each says when something is done, not when too much is refused.
RHYTHMS = {
    "keep_alive_s",
    "poll_timeout_s",
    "expiry_notice_s",
    "connection_token_ttl_s",
    "bind_code_ttl_s",
    "bind_code_mail_ttl_s",
    "bind_window_s",
    "lease_ttl_s",
    "offer_timeout_s",
    "sweep_s",
    "watch_every_s",
    "alive_every_s",
    "freeze_after_s",
    "aids_away_ends_after_s",
    "question_after_s",
    "rtt_ends_after_s",
    "call_ends_after_s",
    "background_ends_after_s",
    "dead_man_s",
    "session_s",
    "log_flush_s",
    "log_stale_s",
    "bus_ping_s",
    "look_live_s",
    "look_s",
    "owner_ttl_s",
    "pod_beat_s",
    "signs_every_s",
    "presence_flush_s",
    "presence_grace_s",
    "pod_gone_s",
    "worker_restart_window_s",
    "worker_back_off_s",
    "visit_opens_s",
    "visit_no_show_s",
    "visit_live_s",
    "ring_s",
    "call_return_s",
    "turn_ttl_s",
    "turn_probe_s",
    "acs_poll_s",
    "recording_keep_s",
    "signal_every_s",
    "visit_link_s",
    "visit_guest_s",
    "chat_push_after_s",
    "chat_push_every_s",
    "drain_s",  # the process ends, and its counters with it
}
BOUNDS = sorted(
    field.name
    for field in fields(Config)
    if (field.name.startswith("max_") or field.name.endswith(("_s", "_items"))) and field.name not in RHYTHMS
)


def sources(folder: str) -> str:
    """What is written there, this file left out."""
    files = (ROOT / folder).rglob("*.py")
    return "\n".join(path.read_text() for path in files if "node_modules" not in path.parts and path != Path(__file__))


def section(title: str) -> str:
    text = (ROOT / "docs" / "operations.md").read_text()
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_bound_is_counted_tested_and_documented(bound: str) -> None:
    assert f'"{bound}"' in sources("signaling") + sources("fitting"), "counted nowhere"
    tests = sources("tests/signaling") + sources("tests/fitting") + sources("tests/contracts")
    assert re.search(rf'(bound["=:\s]+|reached\()"{bound}"', tests), f"no test looks at {COUNTER}"
    assert re.search(rf"^\| `{bound}` \| \S", section("Bounds"), re.MULTILINE), "not documented"


def test_the_documentation_names_no_bound_that_is_none() -> None:
    assert sorted(re.findall(r"^\| `([a-z_]+)` \|", section("Bounds"), re.MULTILINE)) == BOUNDS


def test_a_number_is_a_bound_or_a_rhythm() -> None:
    assert {field.name for field in fields(Config)} >= RHYTHMS
