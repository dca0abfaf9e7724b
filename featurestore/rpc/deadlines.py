"""How long a call may take when its caller does not say."""

from __future__ import annotations

from collections.abc import Mapping

from featurestore.model import deadline

SERVING_SECONDS = 1.0
ORDINARY_SECONDS = 10.0
WRITING_SECONDS = 60.0
TRAINING_SECONDS = 300.0

_OURS = ("/featurestore.api.", "/arrow.flight.protocol.")
_ENDLESS = {"Attach", "Follow"}
_SECONDS: Mapping[str, float] = {
    "QueryRealtime": SERVING_SECONDS,
    "ExtractRealtime": SERVING_SECONDS,
    "Query": SERVING_SECONDS,
    "RunEtl": SERVING_SECONDS,
    "CreateTable": WRITING_SECONDS,
    "DropTable": WRITING_SECONDS,
    "Publish": WRITING_SECONDS,
    "Delete": WRITING_SECONDS,
    "PublishDemo": TRAINING_SECONDS,
    "QueryTrain": TRAINING_SECONDS,
    "ExtractTrain": TRAINING_SECONDS,
    "DoGet": TRAINING_SECONDS,
    "Verify": TRAINING_SECONDS,
    "Warm": TRAINING_SECONDS,
}


def default_seconds(method: str) -> float | None:
    """The default for a method, by its full name such as `/featurestore.api.realtime.v1.RealtimeService/Query`.

    None, no end, for streams that last as long as their caller, and for services that are not ours (health).
    """
    name = method.rpartition("/")[2]
    if not method.startswith(_OURS) or name in _ENDLESS:
        return None
    return _SECONDS.get(name, ORDINARY_SECONDS)


def working_seconds(remaining: float) -> float:
    """What a server works of the `remaining` seconds of its caller, so that its answer still arrives.

    All but the margin; at least half, so that a short deadline passed on from hop to hop is never all margin.
    """
    return max(remaining - deadline.margin(remaining), remaining / 2)
