"""What XLA frees is kept for its next program and does not go back to the system at every step."""

import os
import sys

KEPT = ":".join(
    f"glibc.malloc.{setting}"
    for setting in ("mmap_max=0", "trim_threshold=4000000000", "arena_max=1", "hugetlb=1")
)
"""One heap that is neither trimmed nor bypassed, of huge pages."""


def keep() -> None:
    """Start this process again with ``KEPT``, which the C library reads only at a start.

    Only on Linux, and where ``GLIBC_TUNABLES`` is not set: with an empty value a command stays
    with the defaults, which give memory back and make a training step of ResNet-20 slower.
    """
    if "GLIBC_TUNABLES" in os.environ or sys.platform != "linux":
        return
    os.environ["GLIBC_TUNABLES"] = KEPT
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
