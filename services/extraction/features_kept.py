"""Features of one key that are kept, for ETLs that declare themselves pure.

They are kept by what they were made from: the code, the contract, and the very rows of the query's answer. A write that changes
the rows changes the name, so what is found is never stale, and nobody has to say when something changed.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeAlias

from featurestore.model.serving import Answer, AnswerFormat, EtlRun, KeyAnswer, LibraryDifference

Name: TypeAlias = tuple[str, str, AnswerFormat, KeyAnswer, bytes]

_BESIDE_BYTES = 600  # what Python needs for a name, an entry and its places


@dataclass(frozen=True, slots=True)
class Features:
    """What an ETL made of one key's rows.

    Attributes:
        payload: encoded, in the format that its name says.
        library_differences: those that it was made with, as in `AnswerInfo`.
    """

    answer: KeyAnswer
    payload: bytes
    library_differences: tuple[LibraryDifference, ...] = ()


def name_of(run: EtlRun, answer: Answer, answer_format: AnswerFormat) -> Name:
    """What an ETL's features of one key's answer are kept under."""
    digest = hashlib.sha256(answer.payload).digest()
    return (run.etl_id, run.script.blob_sha256, answer_format, answer.keys[0], digest)


class FeaturesKept:
    """A bounded number of bytes; what was asked for the longest ago goes first. On the event loop only."""

    def __init__(self, limit: int) -> None:
        """Start empty.

        Args:
            limit: bytes; 0 keeps nothing.
        """
        self._limit = limit
        self._kept: OrderedDict[Name, Features] = OrderedDict()
        self._size = 0

    @property
    def enabled(self) -> bool:
        """Whether anything is kept at all."""
        return self._limit > 0

    def get(self, name: Name) -> Features | None:
        """What is kept under a name."""
        found = self._kept.get(name)
        if found is not None:
            self._kept.move_to_end(name)
        return found

    def put(self, name: Name, features: Features) -> None:
        """Keep features; what alone would fill an eighth is not kept."""
        if _size(features) > self._limit // 8:
            return
        if (known := self._kept.pop(name, None)) is not None:
            self._size -= _size(known)
        self._kept[name] = features
        self._size += _size(features)
        while self._size > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self._size -= _size(oldest)


def _size(features: Features) -> int:
    return len(features.payload) + _BESIDE_BYTES
