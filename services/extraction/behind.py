"""Threads whose work nobody waits for at a key: where there are fewer processors than work, serving goes first."""

from __future__ import annotations

import os
import sys
import threading
from typing import Final

NICENESS: Final = 10
"""A tenth of the processor time of a thread that has none, while both want it; all that is left, otherwise."""


def go_behind() -> None:
    """Put the calling thread, and the threads that it starts from now on, behind others; for the rest of its life.

    On Linux, where a niceness is a thread's own; elsewhere it would be the whole process's, so nothing is done.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        niceness = max(
            os.getpriority(os.PRIO_PROCESS, thread), NICENESS
        )  # to lower it again would want a right
        os.setpriority(os.PRIO_PROCESS, thread, niceness)
