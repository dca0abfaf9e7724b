"""What workers report, and what befalls them, as the errors that callers meet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featurestore.etl.contract import Difference
from featurestore.model.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    FeatureStoreError,
    Internal,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from services.extraction import contracts

_REASONS: dict[str, tuple[type[FeatureStoreError], str]] = {
    "source": (FailedPrecondition, "ETL_SOURCE"),
    "exception": (FailedPrecondition, "ETL_EXCEPTION"),
    "no_frame": (FailedPrecondition, "ETL_NO_FRAME"),
    "input_type": (FailedPrecondition, "ETL_INPUT_TYPE"),
    "output_type": (FailedPrecondition, "ETL_OUTPUT_TYPE"),
    "output": (ResourceExhausted, "ETL_OUTPUT"),
    "memory": (ResourceExhausted, "ETL_MEMORY"),
    "sandbox": (PermissionDenied, "ETL_SANDBOX"),
}


def reported(failed: Mapping[str, Any]) -> FeatureStoreError:
    """The error for a worker's `failed` report. A report that is none is the worker's fault: `ETL_BAD_RESULT`."""
    try:
        details = {str(name): str(value) for name, value in failed["details"].items()}
        if failed["kind"] == "contract":
            return contracts.broken([Difference(**each) for each in failed["differences"]], **details)
        kind, reason = _REASONS[failed["kind"]]
        return kind(reason, str(failed["message"]), **details)
    except (KeyError, TypeError, AttributeError):
        return bad_result("its report of a failure can't be read")


def bad_result(why: str) -> Internal:
    """The error for a reply that breaks the protocol; `why` shows none of it."""
    return Internal("ETL_BAD_RESULT", f"the ETL's worker process gave an unusable answer: {why}", why=why)


def crashed(path: str, returncode: int) -> Internal:
    """The error for a worker that ended by itself; its output is in the server's log."""
    how = "signal" if returncode < 0 else "exit code"
    number = str(abs(returncode))
    return Internal(
        "ETL_CRASH",
        f"the ETL's worker process ended with {how} {number} while it ran {path}",
        path=path,
        **{how.replace(" ", "_"): number},
    )


def late(path: str, seconds: float, *, started: bool) -> FeatureStoreError:
    """The error when the time is over: the script's own fault once it was started, else that of the load."""
    if started:
        return DeadlineExceeded(
            "ETL_TIMEOUT",
            f"{path} was not done after {seconds:g} s and was stopped; make it faster or raise the deadline",
            path=path,
            seconds=f"{seconds:g}",
        )
    return Unavailable(
        "ETL_BUSY",
        f"no ETL worker was free for {path} within {seconds:g} s; try again",
        path=path,
        seconds=f"{seconds:g}",
    )


def taken_along(path: str) -> Unavailable:
    """The error for a worker that died because its zygote did, which is not the script's doing."""
    return Unavailable(
        "ETL_BUSY",
        f"the process that ETL workers come from ended while one ran {path}; it is started again, try again",
        path=path,
    )


def closing() -> Unavailable:
    """The error for a call that meets the end of the service."""
    return Unavailable("ETL_BUSY", "the ETL workers are being shut down; try again")
