"""Pages of a list that is at hand, sorted by a name: the token is the last name of the page before."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from featurestore.model.errors import InvalidArgument

DEFAULT_PAGE = 100
MAX_PAGE = 1_000

_T = TypeVar("_T")


def page_of(
    items: Sequence[_T], page_size: int, page_token: str, name_of: Callable[[_T], str]
) -> tuple[Sequence[_T], str]:
    """One page, and the token of the next; empty on the last.

    Args:
        items: sorted by `name_of`.
        page_size: 0 for 100; at most 1,000.

    Raises:
        InvalidArgument: `BAD_PAGE`.
    """
    if page_size < 0:
        raise InvalidArgument(
            "BAD_PAGE", f"page_size is {page_size}: give 0 to {MAX_PAGE}", field="page_size"
        )
    try:
        after = base64.b64decode(page_token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidArgument(
            "BAD_PAGE",
            "page_token is not one that a list returned: begin with an empty one",
            field="page_token",
        ) from None
    left = [item for item in items if not after or name_of(item) > after]
    size = min(page_size or DEFAULT_PAGE, MAX_PAGE)
    page = left[:size]
    token = base64.urlsafe_b64encode(name_of(page[-1]).encode()).decode() if len(left) > size else ""
    return page, token
