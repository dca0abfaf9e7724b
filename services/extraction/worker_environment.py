"""How ETL processes are started: what they see of the environment is this, and nothing of ours."""

from __future__ import annotations

import sys

# The host's zone and hash seeds must not reach a result; Arrow's default allocator would reserve a GiB, which no limit
# on memory survives; more BLAS threads than one only get in each other's way, and a process with threads can't be sealed.
ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}

# -P and -s are what is left of -I when the environment is ours: -I would ignore the hash seed as well.
COMMAND = (sys.executable, "-P", "-s", "-m")
