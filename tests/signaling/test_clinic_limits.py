"""The file of clinics' limits: what it may say, and that anything else keeps the server from starting, in one line."""

from pathlib import Path
from typing import Any

import pytest

from fitting.limits import KERNEL_LIMITS, LIMIT_FIELDS, ClinicLimits
from signaling.clinic_limits import read_clinic_limits
from signaling.config import ConfigError
from tests.signaling.conftest import OpenHouse
from tests.signaling.test_cli import run


def read(folder: Path, text: str | bytes) -> Any:
    path = folder / "limits.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_clinic_limits(str(path))


def test_no_file_means_that_no_clinic_has_tightened_anything() -> None:
    assert read_clinic_limits("") == {}


def test_a_clinic_has_its_own_numbers_and_the_kernels_for_the_rest(tmp_path: Path) -> None:
    found = read(tmp_path, '\ufeff{"c1": {"liveRiseDdb": 20, "maxRatioTenths": 30}, "Klinik Süd": {}}')
    assert found == {"c1": ClinicLimits(live_rise_ddb=20, max_ratio_tenths=30), "Klinik Süd": KERNEL_LIMITS}


@pytest.mark.parametrize("shown", LIMIT_FIELDS)
def test_every_limit_can_be_tightened_and_not_be_loosened(tmp_path: Path, shown: str) -> None:
    own: int = getattr(KERNEL_LIMITS, LIMIT_FIELDS[shown])
    tighter, looser = (own + 1, own - 1) if shown == "feedbackMarginDdb" else (own - 1, own + 1)
    found = read(tmp_path, f'{{"c1": {{"{shown}": {tighter}}}}}')
    assert getattr(found["c1"], LIMIT_FIELDS[shown]) == tighter
    with pytest.raises(ConfigError, match=f'^clinic_limits: clinic "c1": {shown}: a clinic may only tighten, at'):
        read(tmp_path, f'{{"c0": {{}}, "c1": {{"{shown}": {looser}}}}}')


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "must be an object"),
        ('{"c1": []}', 'clinic "c1": must be an object'),
        ('{"c1": null}', 'clinic "c1": must be an object'),
        ('{"": {}}', 'clinic "": a clinic has a name'),
        ('{"c1": {"liveRise": 2}}', 'clinic "c1": there is no limit "liveRise", known are mpoCeilingDdb, '),
        ('{"c1": {"live_rise_ddb": 20}}', 'there is no limit "live_rise_ddb"'),
        ('{"c1": {"liveRiseDdb": 20.0}}', 'clinic "c1": liveRiseDdb: a limit is an integer, tenths of its unit'),
        ('{"c1": {"liveRiseDdb": "20"}}', "liveRiseDdb: a limit is an integer"),
        ('{"c1": {"liveRiseDdb": true}}', "liveRiseDdb: a limit is an integer"),
        ('{"c1": {"liveRiseDdb": null}}', "liveRiseDdb: a limit is an integer"),
        ('{"c1": {"liveRiseDdb": NaN}}', "liveRiseDdb: a limit is an integer"),
        ('{"c1": {"liveRiseDdb": -1}}', "liveRiseDdb: a clinic may only tighten"),
        ('{"c1": {"maxRatioTenths": 9}}', "maxRatioTenths: a clinic may only tighten"),
        ('{"c1": {"liveRiseDdb": 10}, "c1": {}}', '"c1" is there twice'),
        ('{"c1": {"liveRiseDdb": 10, "liveRiseDdb": 30}}', '"liveRiseDdb" is there twice'),
        ('{"c\\n1": {"x": 1}}', 'clinic "c\\n1": there is no limit "x"'),
    ],
)
def test_what_is_not_understood_is_one_line_that_names_it(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, text)
    assert says in refused.value.public_message
    assert refused.value.public_message.startswith("clinic_limits: ")
    assert "\n" not in refused.value.public_message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.json", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=f"^clinic_limits: cannot read {path}: {why}"):
            read_clinic_limits(str(path))


async def test_a_server_does_not_start_with_a_limit_that_would_loosen(open_house: OpenHouse, tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    path.write_text('{"c1": {"liveRiseDdb": 31}}')
    with pytest.raises(ConfigError, match='clinic "c1": liveRiseDdb'):
        await open_house(clinic_limits=str(path))


def test_the_command_says_so_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    path.write_text('{"c1": {"liveRiseDdb": 31}}')
    done = run("serve", "--dev", "--port", "0", AURICLE_CLINIC_LIMITS=str(path), AURICLE_DATA=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        'auricle: clinic_limits: clinic "c1": liveRiseDdb: a clinic may only tighten, at most 30, not 31\n'
    )
