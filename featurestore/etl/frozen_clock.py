"""A clock that stands still, for a worker that shows whether a script's result depends on the time.

A script may have any function that tells the time before it is run, so the functions themselves are changed: those of
`time` in their module, `datetime.now` in its own type, which pandas asks too. What C code reads without asking Python goes
on: `numpy.datetime64("now")` is all that is known.
"""

from __future__ import annotations

import ctypes
import gc
import time
from datetime import UTC, datetime
from typing import Any

_NANOSECONDS = 10**9


def freeze(seconds: float) -> None:
    """Have it be this time, in seconds since 1970 in UTC, for the rest of the process.

    Call it before the script is loaded: what a module has taken from `time` by name stays as it was.
    """
    nanoseconds = round(seconds * _NANOSECONDS)
    for name, frozen in _functions(nanoseconds / _NANOSECONDS, nanoseconds).items():
        setattr(time, name, frozen)
    # `date.today` and `datetime.today` ask `time.time`; these two ask the system. The type is written in C and refuses
    # to have its attributes set; the dict behind it does not.
    (attributes,) = (each for each in gc.get_referents(datetime.__dict__) if isinstance(each, dict))
    attributes["now"] = classmethod(lambda cls, tz=None: cls.fromtimestamp(time.time(), tz))
    attributes["utcnow"] = classmethod(lambda cls: cls.fromtimestamp(time.time(), UTC).replace(tzinfo=None))
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime))


def _functions(seconds: float, nanoseconds: int) -> dict[str, Any]:
    real_clock, real_clock_ns = time.clock_gettime, time.clock_gettime_ns
    gmtime, localtime, ctime, asctime, strftime = (
        time.gmtime, time.localtime, time.ctime, time.asctime, time.strftime,
    )  # fmt: skip
    wall = time.CLOCK_REALTIME
    return {
        "time": lambda: seconds,
        "time_ns": lambda: nanoseconds,
        "clock_gettime": lambda clock: seconds if clock == wall else real_clock(clock),
        "clock_gettime_ns": lambda clock: nanoseconds if clock == wall else real_clock_ns(clock),
        "gmtime": lambda at=None: gmtime(seconds if at is None else at),
        "localtime": lambda at=None: localtime(seconds if at is None else at),
        "ctime": lambda at=None: ctime(seconds if at is None else at),
        "asctime": lambda at=None: asctime(localtime(seconds) if at is None else at),
        "strftime": lambda text, at=None: strftime(text, localtime(seconds) if at is None else at),
    }
