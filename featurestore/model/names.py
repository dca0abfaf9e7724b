"""Ids, names and content keys: what makes two saves the same thing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from enum import Enum

from featurestore.model.errors import InvalidArgument

FORMAT_VERSION = 1
DEFAULT_PROJECT = "default"
DEFAULT_ID_KEY = b"featurestore public id key v1"
"""Fixed and public, so that the same save has the same id on a laptop and in production."""

NAME_GRAMMAR = "[A-Za-z_][A-Za-z0-9_.-]*"
_NAME = re.compile(NAME_GRAMMAR)
_NAMED_VERSION = re.compile(f"({NAME_GRAMMAR})@([1-9][0-9]{{0,8}})")
_ID_LENGTH = 26
_MAX_NAME_LENGTH = 128


class Kind(Enum):
    """What an id or a name stands for; names of queries and of ETLs live apart."""

    QUERY = "query"
    ETL = "etl"

    @property
    def prefix(self) -> str:
        """The prefix of ids of this kind."""
        return "qry_" if self is Kind.QUERY else "etl_"


_ID = {kind: re.compile(f"{kind.prefix}[a-z2-7]{{{_ID_LENGTH}}}") for kind in Kind}


def content_key(*parts: bytes | str) -> str:
    """SHA-256, in hex, over the length-prefixed parts: no two different tuples share an encoding."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode() if isinstance(part, str) else part
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


def public_id(kind: Kind, key: str, id_key: bytes = DEFAULT_ID_KEY) -> str:
    """The id that callers hold: prefix + 26 characters of base32 of HMAC-SHA256(id key, content key)."""
    mac = hmac.new(id_key, key.encode(), hashlib.sha256).digest()
    return kind.prefix + base64.b32encode(mac).decode().lower()[:_ID_LENGTH]


def is_id(text: str, kind: Kind) -> bool:
    """Whether the text is a well-formed id of this kind."""
    return _ID[kind].fullmatch(text) is not None


def check_name(name: str, kind: Kind, field: str = "name") -> str:
    """The name itself, if it may be given to a query or ETL.

    Raises:
        InvalidArgument: `BAD_NAME`, naming the grammar.
    """
    if (
        not _NAME.fullmatch(name)
        or name.startswith(tuple(k.prefix for k in Kind))
        or len(name) > _MAX_NAME_LENGTH
    ):
        raise InvalidArgument(
            "BAD_NAME",
            f"{field} {name[:80]!r} is no name for {'an ETL' if kind is Kind.ETL else 'a query'}: "
            "write letters, digits, '_', '.' or '-', "
            f"a letter or '_' first, at most {_MAX_NAME_LENGTH} characters, not starting with qry_ or etl_",
            field=field,
            name=name[:80],
        )
    return name


def split_reference(text: str, kind: Kind, field: str) -> tuple[str, int | None] | None:
    """Tell an id from a name.

    Args:
        text: an id, a name, or a name with a version such as `demo_query@2`.
        kind: what the field stands for.
        field: the request's field, for the error.

    Returns:
        None for a well-formed id of this kind; else (name, version or None for the newest).

    Raises:
        InvalidArgument: `MISSING_ID` when empty, `ID_OF_OTHER_KIND` for a swapped pair, `BAD_ID` for a
            malformed id, `BAD_NAME` for what is neither.
    """
    if not text:
        raise InvalidArgument("MISSING_ID", f"{field} is empty: give an id or a name", field=field)
    if is_id(text, kind):
        return None
    other = Kind.ETL if kind is Kind.QUERY else Kind.QUERY
    if text.startswith(other.prefix):
        raise InvalidArgument(
            "ID_OF_OTHER_KIND",
            f"{field} {text[:80]!r} is an id of another kind: {kind.prefix}... is wanted here; were two ids swapped?",
            field=field,
            id=text[:80],
        )
    if text.startswith(kind.prefix):
        raise InvalidArgument(
            "BAD_ID",
            f"{field} {text[:80]!r} is no id: ids are {kind.prefix} and {_ID_LENGTH} characters of a-z and 2-7",
            field=field,
            id=text[:80],
        )
    named = _NAMED_VERSION.fullmatch(text)
    if named:
        return check_name(named[1], kind, field), int(named[2])
    return check_name(text, kind, field), None
