"""The `featurestore` command."""

from __future__ import annotations

import sys
from typing import NoReturn

import featurestore.host  # noqa: F401 - first of all: it tells gRPC about forks, which gRPC reads when it is loaded


def main() -> NoReturn:
    """Run the command line and exit with its code: 0 only on success, 1 for an error, 2 for wrong usage."""
    try:
        from featurestore.cli.app import run  # noqa: PLC0415 - click and rich may be missing
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in {"click", "rich"}:
            raise
        sys.stderr.write(
            f"error: the command line needs {package}: pip install 'featurestore[local]' [NOT_INSTALLED]\n"
        )
        sys.exit(1)
    sys.exit(run())
