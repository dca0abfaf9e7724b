"""The errors that callers meet: one class per status, one stable `reason` per cause.

The same classes are raised by the services and by the clients, so what a caller catches
does not depend on whether the store is in its process, in a child process, or remote.
`featurestore.rpc.errors` holds the one table between these classes and gRPC status codes.
"""

from __future__ import annotations

from typing import ClassVar


class FeatureStoreError(Exception):
    """Something the store refuses or can't do.

    Attributes:
        code: the gRPC status name, such as `INVALID_ARGUMENT`.
        reason: what went wrong, stable and upper-case, such as `UNKNOWN_COLUMN`; programs compare this.
        message: one sentence that names the field, column or position, and says what to do.
        details: every variable of the message, by name, as strings.
    """

    code: ClassVar[str] = "UNKNOWN"

    def __init__(self, reason: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.details: dict[str, str] = {name: str(value) for name, value in details.items()}

    def __str__(self) -> str:
        return f"{self.message} [{self.reason}]"

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are copied by pytest and by executors; the default would lose the keyword details.
        return (_rebuild, (type(self), self.reason, self.message, self.details))


def _rebuild(
    kind: type[FeatureStoreError], reason: str, message: str, details: dict[str, str]
) -> FeatureStoreError:
    return kind(reason, message, **details)


class InvalidArgument(FeatureStoreError):
    """The request can never work as it is: bad SQL, an unknown column, a wrong value."""

    code = "INVALID_ARGUMENT"


class NotFound(FeatureStoreError):
    """What the request names does not exist: an id, a name, a table."""

    code = "NOT_FOUND"


class AlreadyExists(FeatureStoreError):
    """It exists already, and otherwise than asked: a table with another definition."""

    code = "ALREADY_EXISTS"


class FailedPrecondition(FeatureStoreError):
    """The store is not in the state that the request needs; a retry won't help until that changes."""

    code = "FAILED_PRECONDITION"


class PermissionDenied(FeatureStoreError):
    """The caller, or the ETL on its behalf, may not do this."""

    code = "PERMISSION_DENIED"


class Unauthenticated(FeatureStoreError):
    """The caller did not say who it is, or not believably."""

    code = "UNAUTHENTICATED"


class ResourceExhausted(FeatureStoreError):
    """A limit was met: the size of an answer or publish, memory, output, callers waiting."""

    code = "RESOURCE_EXHAUSTED"


class DeadlineExceeded(FeatureStoreError):
    """The call's time was over before the work was."""

    code = "DEADLINE_EXCEEDED"


class Unavailable(FeatureStoreError):
    """A part of the store can't be reached or is behind; the same call may work in a moment."""

    code = "UNAVAILABLE"


class Cancelled(FeatureStoreError):
    """The caller went away."""

    code = "CANCELLED"


class Unimplemented(FeatureStoreError):
    """The server is older than the client, or this part is not switched on."""

    code = "UNIMPLEMENTED"


class Internal(FeatureStoreError):
    """A bug of ours. The message holds a correlation id; the server's log holds the rest."""

    code = "INTERNAL"


BY_CODE: dict[str, type[FeatureStoreError]] = {
    kind.code: kind
    for kind in (
        InvalidArgument,
        NotFound,
        AlreadyExists,
        FailedPrecondition,
        PermissionDenied,
        Unauthenticated,
        ResourceExhausted,
        DeadlineExceeded,
        Unavailable,
        Cancelled,
        Unimplemented,
        Internal,
    )
}
