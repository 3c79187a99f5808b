"""The README's two commands are the ones that are tested, and the imports point the way the house is built."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEST_COMMAND = "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/pytest"


def test_the_test_command_of_the_readme_is_the_one_that_ci_runs() -> None:
    assert TEST_COMMAND in (ROOT / "README.md").read_text().splitlines()
    assert TEST_COMMAND in (ROOT / ".ci" / "run").read_text().splitlines()


def test_every_file_that_the_readme_points_to_exists() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} points to {target}"


def test_imports_point_inwards() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_help_is_quick_because_it_loads_no_server() -> None:
    """Counts modules, not seconds: a slow machine must not fail this."""
    code = (
        "import sys, contextlib\n"
        "from signaling.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "print(','.join(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split(","))
    assert not loaded & {"aiohttp", "alembic", "asyncio", "jwt", "msgspec", "numpy", "redis", "sqlalchemy", "structlog"}
    for command in ("serve", "token", "migrate", "audit", "config", "asyncapi", "openapi", "demo", "fake-acs"):
        assert command in done.stdout
