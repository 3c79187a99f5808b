"""The promises of the demo, each looked at while it runs. Read ``Checks.expect`` first."""

from dataclasses import dataclass, field

from clients.demo.printer import Printer

__all__ = ["Checks"]


@dataclass(slots=True)
class Checks:
    """Collects what held and what did not; the exit code is decided by ``failed``."""

    printer: Printer
    held: int = 0
    failed: list[str] = field(default_factory=list)

    def expect(self, name: str, held: bool, found: str = "") -> None:
        """Note one check. A failed one is told at once, with what was ``found`` instead; the demo goes on."""
        if held:
            self.held += 1
            return
        self.failed.append(name)
        self.printer.tell("check_failed", f"CHECK FAILED: {name}: {found}", name=name, found=found)

    @property
    def ok(self) -> bool:
        """Whether at least one check ran and none failed."""
        return self.held > 0 and not self.failed
