"""Memory of this process: what it holds, and the most that it held since it was last asked to forget."""

import ctypes
import gc
import sys
from pathlib import Path

MB = 2**20
"""Bytes of the unit in which memory is told."""


def resident_mb(field: str = "VmRSS") -> float | None:
    """What the process holds; with `VmHWM`, the most that it ever held, or since `forget_peak`.

    Returns:
        MiB; the most it ever held where the system does not tell what it holds now, None where it tells neither.
    """
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB


def forget_peak() -> None:
    """Returns freed memory to the system, and lets the peak begin anew where the system can."""
    if sys.platform != "linux":
        return
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, others do not
    if trim is not None:
        trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # the peak then covers what was measured before, too
