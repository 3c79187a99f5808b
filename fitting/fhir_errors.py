"""Why a FHIR document is refused, a class and a stable code each, and what is left out of one that is not.

    FhirError
    ├── NotFhir             no resource, or none that can hold an audiogram; an element that is malformed
    ├── TooManyEntries      more resources, components or codings than are read
    ├── UnknownModifier     it says something that changes its meaning and that is not known here
    ├── NotAFinding         a status that may still change, or says that it was wrong
    ├── WrongUnit           a threshold in anything else than dB HL
    ├── UnsupportedValue    a threshold that is no number, or "less than" one
    ├── Contradiction       the code says one thing, the words, the site or the value beside it another
    ├── DuplicateThreshold  one ear and frequency twice
    ├── DifferentTests      thresholds of different days
    └── WrongPatient        of somebody else, or of several people

A message says where, never what was measured.
"""

from dataclasses import dataclass
from typing import Final, Literal

from protocol.errors import AuricleError

__all__ = [
    "FHIR_CODES",
    "Contradiction",
    "DifferentTests",
    "DuplicateThreshold",
    "FhirError",
    "LeftOut",
    "NotAFinding",
    "NotFhir",
    "TooManyEntries",
    "UnknownModifier",
    "UnsupportedValue",
    "WrongPatient",
    "WrongUnit",
]


class FhirError(AuricleError):
    """The document cannot be taken as an audiogram; ``public_message`` is one line that says why."""

    code = "bad_fhir"


class NotFhir(FhirError):
    """It is no resource that can hold an audiogram, or an element has a shape that FHIR does not give it."""

    code = "not_fhir"


class TooManyEntries(FhirError):
    """It has more resources, components or codings than are read."""

    code = "too_many_entries"


class UnknownModifier(FhirError):
    """FHIR forbids to go on past a modifier that is not known: it may turn the meaning around."""

    code = "unknown_modifier"


class NotAFinding(FhirError):
    """A status that may still change, or one that takes the observation back."""

    code = "not_final"


class WrongUnit(FhirError):
    """A threshold in another unit: dB SPL and dB HL differ by up to 50 dB."""

    code = "wrong_unit"


class UnsupportedValue(FhirError):
    """A threshold that is no quantity, or one that is only bounded from above."""

    code = "unsupported_value"


class Contradiction(FhirError):
    """Two parts of the document say different things of one threshold; neither can be trusted."""

    code = "contradiction"


class DuplicateThreshold(FhirError):
    """One ear and frequency is there twice."""

    code = "duplicate_threshold"


class DifferentTests(FhirError):
    """The thresholds are of more than one day."""

    code = "different_tests"


class WrongPatient(FhirError):
    """The document is about somebody else, or about several people."""

    code = "wrong_patient"


_KINDS: Final[tuple[type[FhirError], ...]] = (FhirError, *FhirError.__subclasses__())
FHIR_CODES: Final = tuple(kind.code for kind in _KINDS)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A part of a document that was not taken: where it stands, why, and its code if it has one.

    ``resource``: no Observation. ``unknown_code``: not the threshold of an ear at a frequency. ``frequency``: at one
    that audiograms do not have here. ``method``: measured in a way that is not known. ``not_measured``: there is no
    value.
    """

    where: str
    reason: Literal["resource", "unknown_code", "frequency", "method", "not_measured"]
    code: str = ""
