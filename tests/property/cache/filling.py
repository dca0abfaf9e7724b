"""Fills a cache with answers for distinct keys, in a process of its own, and says what that took: `filling LIMIT COUNT`."""

import json
import os
import random
import sys
from pathlib import Path

from featurestore.model.serving import AnswerFormat
from services.realtime.cache import AnswerCache
from services.realtime.touches import Dependence

_PLACES = (("accounts", "owner"), ("quotes", "owner"), ("users", "user_id"))
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _fill(cache, count):
    """Answers as a mix of queries gives them: 600 to 1,000 bytes, one or two touches, numbers and texts as keys."""
    draw = random.Random(7).random
    nothing, rates = frozenset(), frozenset({"rates"})
    for n in range(count):
        query = n % 8
        key = n if query < 4 else f"user-{n:012}"
        touches = [
            (_PLACES[: 1 + n % 3], key),
            ((("transactions", "account_id"),), 10**9 + n),  # a chain's value
        ][: 1 + n // 3 % 2]
        depends = Dependence(frozenset(touches), rates if query == 3 else nothing)
        message = bytes(600 + int(400 * draw()))
        token = cache.begin()
        cache.put(token, (query, AnswerFormat.ARROW, (key,)), message, 5, depends)
        cache.end(token)


def main():
    limit, count = map(int, sys.argv[1:])
    _fill(AnswerCache(2**20), 20_000)  # what is there only once
    cache = AnswerCache(limit)
    before = _resident()
    _fill(cache, count)
    status = cache.status()
    print(json.dumps({"grown": _resident() - before, "size": status.size, "entries": status.entries}))  # noqa: T201


if __name__ == "__main__":
    main()
