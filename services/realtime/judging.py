"""Judging a group of proposals: what each does, and how its frame reads, or what it is answered without one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from featurestore.engine.apply import Tables
from featurestore.model import frames
from featurestore.model.errors import InvalidArgument, ResourceExhausted
from featurestore.model.table import Operation, Published, Version
from services.realtime import proposals
from services.realtime.log import Log, Receipt, Record
from services.realtime.proposals import Proposal
from services.realtime.together import together

_MOST_LOOKED_UP: Final = 500
"""Ids in one look into the log; SQLite takes 999 parameters in its oldest versions."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What is to be applied and logged."""

    operations: tuple[Operation, ...]
    record: Record


class Judge:
    """Judges the proposals of one group, in their order; made anew for each group.

    What can be done at once for all of them is done at once; a verdict is always the one for the store as it is in
    the proposal's turn.
    """

    def __init__(self, log: Log, group: Sequence[Proposal], tables: Tables, *, frame_bytes: int) -> None:
        """Look at the whole group.

        Args:
            log: where earlier publishes under the same ids would be found.
            tables: the definitions as they are.
            frame_bytes: what a frame may have.
        """
        self._log = log
        self._frame_bytes = frame_bytes
        self._group = group
        self._tables = tables
        self._small = together(group, tables)
        self._receipts: dict[str, Receipt] = {}
        counted = Counter(proposal.publish_id for proposal in group)
        self._repeated = {publish_id for publish_id, count in counted.items() if count > 1}
        ids = list(counted)
        for start in range(0, len(ids), _MOST_LOOKED_UP):
            self._receipts |= log.find(ids[start : start + _MOST_LOOKED_UP])

    def judge(self, position: int, tables: Tables, version: Version) -> Accepted | Published:
        """The verdict on the proposal at this position; those before it with the same id are in the log by now.

        Args:
            tables: the definitions in its turn.
            version: the last one before it.

        Raises:
            FeatureStoreError: it is refused; as `proposals.judge`, and
            InvalidArgument: `PUBLISH_ID_REUSED`.
            ResourceExhausted: `PUBLISH_TOO_LARGE`.
        """
        proposal = self._group[position]
        digest = proposals.digest(proposal)
        receipt = self._receipt(proposal.publish_id)
        if receipt is not None:
            return _first_answer(proposal, digest, receipt, version.log_id)
        small = self._small.get(position) if tables is self._tables else None
        if small is not None:
            proposals.check_publish_id(proposal)
            operations: tuple[Operation, ...] = (small.put,)
            row_count = small.put.rows.num_rows
            body = small.body
        else:
            operations, row_count = proposals.judge(proposal, tables)
            body = None
        if not operations:
            return Published(row_count, version)
        body = self._fitting(frames.encode(operations) if body is None else body)
        return Accepted(operations, Record(proposal.publish_id, digest, row_count, body))

    def _receipt(self, publish_id: str) -> Receipt | None:
        if publish_id in self._repeated:
            self._receipts |= self._log.find([publish_id])
        return self._receipts.get(publish_id)

    def _fitting(self, body: bytes) -> bytes:
        if len(body) > self._frame_bytes:
            raise ResourceExhausted(
                "PUBLISH_TOO_LARGE",
                f"the publish has {len(body)} bytes, at most {self._frame_bytes} fit; split it",
                size=len(body),
                limit=self._frame_bytes,
            )
        return body


def _first_answer(proposal: Proposal, digest: str, receipt: Receipt, log_id: str) -> Published:
    if digest != receipt.digest:
        raise InvalidArgument(
            "PUBLISH_ID_REUSED",
            f"publish_id {proposal.publish_id!r} was used for other content, at sequence {receipt.sequence}; "
            "make a new id for each publish",
            publish_id=proposal.publish_id,
            sequence=receipt.sequence,
        )
    return Published(receipt.row_count, Version(log_id, receipt.sequence))
