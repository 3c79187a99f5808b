"""What the demo says to input that it cannot use: one clear line, exit 2, and nothing is started."""

import json
from pathlib import Path

import pytest

from clients.demo.__main__ import main
from clients.demo.arguments import parse

GOOD = {"500": 35, "1000": 40, "2000": 50, "4000": 60}
BAD_FILES: dict[str, tuple[str | bytes, str]] = {
    "not JSON": ("{", "not JSON"),
    "not an object": ("[1]", "object"),
    "no ear": ("{}", "at least one ear"),
    "a threshold out of range": (json.dumps({"right": GOOD | {"500": 121}}), "-10 to 120"),
    "a threshold that is text": (json.dumps({"right": GOOD | {"500": "35"}}), "number"),
    "a threshold that is not a number": ('{"right": {"500": NaN}}', "-10 to 120"),
    "an unknown frequency": (json.dumps({"right": GOOD | {"501": 35}}), "unknown frequency"),
    "too few frequencies": (json.dumps({"right": {"500": 35, "1000": 40}}), "too few"),
    "an unknown key": (json.dumps({"middle": GOOD}), "unknown key"),
    "not text": (b"\xff\xfe\x00", "not JSON"),
    "too large": (b" " * 100_000, "larger than"),
}


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("auricle demo: ")
    return printed.err


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_is_no_audiogram_gets_one_line_and_exit_2(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, expected = BAD_FILES[case]
    file = tmp_path / "audiogram.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["--audiogram", str(file)]) == 2
    assert expected in one_line(capsys)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--audiogram", "no/such/file.json"], "No such file"),
        (["--audiogram", "."], "directory"),
        (["--patient", "N8"], "choose one of N1, N2"),
        (["--patient", "N3", "--audiogram", "file.json"], "not allowed with"),
        (["--protocol", "xml"], "invalid choice"),
        (["--louder"], "unrecognized arguments"),
        (["--patient"], "expected one argument"),
    ],
)
def test_words_that_make_no_sense_get_one_line_and_exit_2(
    argv: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    assert expected in one_line(capsys)


def test_one_ear_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "left.json"
    file.write_text(json.dumps({"left": GOOD}))
    options = parse(["--audiogram", str(file), "--json", "--protocol", "messagepack"])
    assert set(options.audiogram.ears) == {"left"}
    assert (options.label, options.protocol, options.json) == ("left.json", "messagepack", True)


def test_the_patient_is_n3_unless_another_is_named() -> None:
    assert parse([]).label == "N3"
    assert parse(["--patient", "s2"]).label == "S2"
