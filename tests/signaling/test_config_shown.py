"""What ``auricle config show`` says: everything that a server would go by, where it comes from, and no secret."""

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from signaling.config import Config, config_from
from signaling.config_shown import MASKED, as_json, as_toml, shown, unread

SECRET = "s3cret" * 8
SECRETS = {entry.name for entry in fields(Config) if not entry.repr}
# What a name that ends like this holds is nobody's to read.
SOUNDS_SECRET = re.compile(r"_(key|secret|password|connection_string)$|^(database|redis)_url$")


def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AURICLE_")}
    command = [sys.executable, "-m", "signaling", "config", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=clean | environ)


def test_every_field_is_shown_and_toml_reads_it_again() -> None:
    config = config_from({"AURICLE_CLINIC_LIMITS": 'a "b" \\ c\n'})
    read = tomllib.loads(as_toml(shown(config, {}, {})))
    assert read.keys() == {entry.name for entry in fields(Config)}
    for name in read.keys() - SECRETS:
        value = getattr(config, name)
        assert read[name] == (str(value) if isinstance(value, Path) else value), name


def test_each_value_says_where_it_comes_from_and_the_command_line_wins() -> None:
    environ = {"AURICLE_PORT": "1", "AURICLE_MAX_GROUPS": "7"}
    said = {"port": 2, "host": None}
    entries = {one.name: (one.value, one.source) for one in shown(config_from(environ, **said), environ, said)}
    assert entries["port"] == (2, "--port")
    assert entries["max_groups"] == (7, "AURICLE_MAX_GROUPS")
    assert entries["host"] == ("127.0.0.1", "default")


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_of_a_secret_only_whether_it_is_set_is_told(name: str) -> None:
    config = Config()
    object.__setattr__(config, name, SECRET)
    for text in (as_toml(shown(config, {}, {})), as_json(shown(config, {}, {}))):
        assert SECRET not in text
    assert json.loads(as_json(shown(config, {}, {})))[name]["value"] == MASKED
    assert json.loads(as_json(shown(Config(), {}, {})))[name]["value"] == ""


def test_what_sounds_like_a_secret_is_kept_as_one() -> None:
    assert {entry.name for entry in fields(Config) if SOUNDS_SECRET.search(entry.name)} <= SECRETS


def test_a_slip_of_the_pen_is_named_and_what_clients_read_is_none() -> None:
    environ = {"AURICLE_MAX_GROUP": "7", "AURICLE_PORT": "1", "AURICLE_PROBE_TOKEN": "x", "HOME": "/"}
    assert unread(environ) == ["AURICLE_MAX_GROUP"]


def test_the_command_prints_it_and_says_what_nobody_reads() -> None:
    done = run("show", "--json", "--port", "0", AURICLE_MAX_GROUPS="7", AURICLE_MAX_GROUP="7")
    assert done.returncode == 0
    said = json.loads(done.stdout)
    assert (said["port"], said["max_groups"]["value"]) == ({"value": 0, "source": "--port"}, 7)
    assert done.stderr == "auricle: AURICLE_MAX_GROUP is set, and nothing reads it\n"


def test_what_no_server_could_start_with_is_said_and_nothing_is_shown() -> None:
    done = run("show", AURICLE_PORT="70000")
    assert (done.returncode, done.stdout) == (2, "")
    assert "port: must be 0 to 65535" in done.stderr
    assert run().returncode == 2
    help_of_it = run("show", "--help")
    assert (help_of_it.returncode, "--json" in help_of_it.stdout) == (0, True)
