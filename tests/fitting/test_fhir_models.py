"""What is written is FHIR: the models of ``fhir.resources`` read it (R4B, which is R4 for these resources)."""

import json

import pytest
from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

from fitting.audiogram import STANDARD_AUDIOGRAMS, audiogram_of, with_marks
from fitting.fhir import read_fhir, write_fhir
from protocol.contract.base import EARS

Bundle = get_fhir_model_class("Bundle")
EVERY_FREQUENCY = with_marks(
    audiogram_of({ear: dict.fromkeys((125, 250, 375, 500, 750, 1000, 1500, 2000, 4000, 8000), 355) for ear in EARS}),
    masked={"right": [500]},
    no_response={"left": [8000]},
)


@pytest.mark.parametrize("audiogram", [*STANDARD_AUDIOGRAMS.values(), EVERY_FREQUENCY], ids=lambda one: one.name)
@pytest.mark.parametrize("measured_on", ["", "2026-11-20"])
def test_what_is_written_is_valid_and_means_the_same_after_another_program_wrote_it(
    audiogram: object, measured_on: str
) -> None:
    assert isinstance(audiogram, type(EVERY_FREQUENCY))
    written = write_fhir(audiogram, audiogram_id="a-1", patient="pat", measured_on=measured_on)
    again = Bundle.model_validate(written).model_dump_json()
    found = read_fhir(again.encode(), patient="pat")
    assert found.audiogram.ears == audiogram.ears
    assert found.audiogram.masked == audiogram.masked
    assert found.audiogram.no_response == audiogram.no_response
    assert (found.measured_on, found.left_out) == (measured_on, ())


def test_the_models_do_notice_what_is_no_fhir() -> None:
    written = write_fhir(EVERY_FREQUENCY, audiogram_id="a-1", patient="pat", measured_on="")
    for change in ({"status": 5}, {"code": "89015-2"}, {"surprise": 1}):
        broken = json.loads(json.dumps(written))
        broken["entry"][0]["resource"] |= change
        with pytest.raises(ValidationError):
            Bundle.model_validate(broken)
