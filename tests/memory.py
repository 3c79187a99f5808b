"""How much memory this process has."""

import os
from pathlib import Path

__all__ = ["resident_bytes"]


def resident_bytes() -> int:
    """What the kernel holds in memory for it now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
