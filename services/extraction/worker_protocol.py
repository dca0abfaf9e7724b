"""What the pool needs of a worker process, sealed or not."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self

import pyarrow as pa

from featurestore.model.errors import FeatureStoreError


class WorkerDied(Exception):
    """The process closed its connection."""


class BadReply(Exception):
    """The process sent what is no reply."""


class Worker(Protocol):
    """A child process with pandas loaded that runs one script, one request at a time.

    Attributes:
        libraries: versions of python, pandas, pyarrow, numpy, duckdb and polars there.
        loaded: it has its script.
        printed: the end of what it wrote to standard output and error; nothing of a sealed one is kept.
    """

    libraries: dict[str, str]
    loaded: bool

    @property
    def printed(self) -> str: ...  # noqa: D102 - above

    @property
    def alive(self) -> bool:
        """The process has not ended, as far as we know."""
        ...

    async def ask(
        self, header: dict[str, Any], body: pa.Buffer, *, body_limit: int
    ) -> tuple[dict[str, Any], pa.Buffer]:
        """Send a request and wait for its reply.

        Cancelling leaves the connection between two messages: kill the worker then.

        Raises:
            WorkerDied: the process ended.
            BadReply: the reply is none, or its body is over `body_limit` bytes.
        """
        ...

    def terminate(self) -> None:
        """End it now; whoever waits for a reply gets `WorkerDied`."""
        ...

    def kill(self) -> None:
        """End it and let go of the descriptors, nobody waiting; `wait` collects what is left."""
        ...

    async def wait(self) -> int | None:
        """The exit code of a killed or dead process, negative for a signal; None if nobody saw it."""
        ...


class Launcher(Protocol):
    """Starts workers; an async context manager that ends what it needs for that.

    Attributes:
        refusal: why it starts none, ever; None while there is no reason.
    """

    @property
    def refusal(self) -> FeatureStoreError | None: ...  # noqa: D102 - above

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def start(self) -> Worker:
        """A process that is ready for a script.

        Raises:
            WorkerDied, BadReply: it did not get ready; the log says why.
            FailedPrecondition: `ETL_UNSEALED`: this launcher starts sealed ones only, and can't seal here.
        """
        ...
