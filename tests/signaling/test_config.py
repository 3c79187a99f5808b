"""The configuration: where each value comes from, what is refused, and that the documentation tells the truth."""

from dataclasses import fields
from pathlib import Path

import pytest

from signaling.config import Config, ConfigError, config_from

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def test_the_environment_sets_a_field_and_the_command_line_wins() -> None:
    environ = {"AURICLE_PORT": "9", "AURICLE_DATA": "/tmp/x", "AURICLE_DEV": "true", "AURICLE_DRAIN_S": "1.5"}
    config = config_from(environ, port=10, host=None)
    assert (config.port, config.data, config.dev, config.drain_s) == (10, Path("/tmp/x"), True, 1.5)
    assert config.host == "127.0.0.1"


@pytest.mark.parametrize("name", [f.name for f in fields(Config) if f.name.startswith("max_") or f.name.endswith("_s")])
def test_every_bound_must_be_positive(name: str) -> None:
    for value in ("0", "-1"):
        with pytest.raises(ConfigError, match=name):
            config_from({f"AURICLE_{name.upper()}": value})


def test_a_secret_is_never_shown() -> None:
    assert "k" * 32 not in repr(Config(dev_signing_key="k" * 32))


@pytest.mark.parametrize("field", fields(Config), ids=lambda field: field.name)
def test_every_field_is_documented_with_its_default(field: object) -> None:
    name = field.name  # type: ignore[attr-defined]  # dataclasses.Field is generic, its name is not
    default = getattr(Config(), name)
    shown = {"data": "~/.auricle"}.get(name) or {"": "empty", True: "true", False: "false"}.get(default)
    if shown is None or (default is not True and default is not False and isinstance(default, (int, float))):
        shown = f"{default:g}" if isinstance(default, float) else str(default)
    assert f"| `{name}` | {shown} |" in OPERATIONS.read_text()
