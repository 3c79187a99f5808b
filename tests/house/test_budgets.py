"""The house's own rules: small functions, small files, a docstring for every module, and words that stay outside."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("protocol", "fitting", "media", "signaling", "clients", "loadtest", "tests")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py") if "node_modules" not in path.parts)
MAX_FUNCTION_LINES = 50
MAX_FILE_LINES = 400
# Spelt in pieces, so that this file does not hold what it looks for.
FOREIGN_WORDS = re.compile("|".join(["/wor" + "k/", "pypi" + r"\.org", "registry" + r"\.npmjs", "deb" + r"\.debian"]))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_files_and_functions_stay_within_the_budget(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_FILE_LINES
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    too_long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, functions) and node.end_lineno and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert too_long == []


@pytest.mark.parametrize("path", [path for path in SOURCES if path.read_text().strip()], ids=relative)
def test_every_module_says_why_it_exists(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_every_silenced_check_gives_its_reason() -> None:
    bare = re.compile(r"#\s*(noqa|type: ignore)[^#]*$")
    silent = [
        f"{relative(path)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if bare.search(line) and path != Path(__file__)
    ]
    assert silent == []


def test_no_machine_paths_and_no_hosts_of_registries_are_committed() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = []
    for name in listed.splitlines():
        path = ROOT / name
        if not path.is_file() or path.name == "LICENSE":
            continue
        text = path.read_text(errors="replace")
        found += [f"{name}: {match.group()}" for match in FOREIGN_WORDS.finditer(text)]
    assert found == []
