"""The contract suite of ``fitting.log.DeviceLog``: an implementation is a subclass with one fixture.

The fixture ``bench`` gives a ``Bench`` over a log made with ``LIMITS`` and the bench's clock, in which
``DEVICE`` has one aid per ear registered. Nothing here knows how a log is kept.
"""

from tests.contracts.device_log_append import AppendContract
from tests.contracts.device_log_attach import AttachContract, LeaseContract
from tests.contracts.device_log_bench import DEVICE, LIMITS, Bench, Clock, registered
from tests.contracts.device_log_budgets import BudgetHistoryContract
from tests.contracts.device_log_deliveries import DeliveryPagesContract
from tests.contracts.device_log_ends import EndContract
from tests.contracts.device_log_offers import OfferContract, PoisonContract, ReportContract
from tests.contracts.device_log_outbox import OutboxContract
from tests.contracts.device_log_pace import PaceContract
from tests.contracts.device_log_packages import PackageContract
from tests.contracts.device_log_proof import ProofContract
from tests.contracts.device_log_quiet import QuietContract
from tests.contracts.device_log_sessions import SaveContract, SessionContract
from tests.contracts.device_log_thefts import TheftContract
from tests.contracts.device_log_truth import TruthContract

__all__ = ["DEVICE", "LIMITS", "Bench", "Clock", "DeviceLogContract", "registered"]


class DeviceLogContract(
    AttachContract,
    LeaseContract,
    SessionContract,
    SaveContract,
    EndContract,
    TheftContract,
    AppendContract,
    OfferContract,
    PoisonContract,
    ReportContract,
    DeliveryPagesContract,
    TruthContract,
    BudgetHistoryContract,
    ProofContract,
    PaceContract,
    QuietContract,
    PackageContract,
    OutboxContract,
):
    """What every device log does."""
