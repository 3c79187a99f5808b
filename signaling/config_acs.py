"""The part of the configuration that is about Azure Communication Services (ACS)."""

from dataclasses import dataclass, field
from pathlib import Path

from media.acs import AcsAddress, AcsPlan, ClinicPlan, read_address, read_plan

from .config_acs_events import AcsEventsConfig
from .config_error import ConfigError

__all__ = ["AcsConfig"]


# No slots: of two parts that have some no class can be made.
@dataclass(frozen=True)
class AcsConfig(AcsEventsConfig):
    """Fields of ``Config``, with what ``AcsEventsConfig`` adds.

    ``acs_connection_string``: of the ACS resource; or ``acs_endpoint`` alone, ``https://name``, and Entra's credentials
    as ``azure-identity`` finds them; both empty: no visit uses ACS. ``acs_ca``: a certificate to trust beside the known
    ones, for a stand-in.
    ``acs_clinics``: JSON file that says what of which clinic's visits ACS carry; empty: calls and chat of all.
    ``acs_timeout_s``: how long one request may take. ``acs_patience_s``: how long a call may wait for its turn when ACS
    are asked for more than they give. ``max_acs_tokens``: identities and tokens in 30 s. ``max_acs_waiting``: requests
    that wait for their turn; one more is told so.
    ``acs_poll_s``: how often a thread is looked at for what was written there. ``max_due_acs``: visits of one look.
    """

    acs_connection_string: str = field(default="", repr=False)
    acs_endpoint: str = ""
    acs_ca: str = ""
    acs_clinics: str = ""
    acs_timeout_s: float = 10.0
    acs_patience_s: float = 45.0
    max_acs_tokens: int = 1_000
    max_acs_waiting: int = 1_000
    acs_poll_s: float = 5.0
    max_due_acs: int = 64

    def _check_acs(self, *, dev: bool) -> None:
        try:
            _ = self.acs_address
        except ValueError as error:
            raise ConfigError(f"acs_connection_string, acs_endpoint: {error}") from None
        self._check_acs_events(dev=dev)

    @property
    def acs_address(self) -> AcsAddress | None:
        """The resource; None when none is configured."""
        return read_address(self.acs_connection_string, self.acs_endpoint)

    @property
    def acs_plan(self) -> AcsPlan:
        """What it carries. Raises ConfigError."""
        if self.acs_address is None:
            return AcsPlan()
        if not self.acs_clinics:
            return AcsPlan(default=ClinicPlan())
        try:
            return read_plan(Path(self.acs_clinics).read_bytes())
        except OSError as error:
            raise ConfigError(f"acs_clinics: cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ConfigError(f"acs_clinics: {error}") from None
