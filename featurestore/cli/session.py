"""Which store a command works on, and whom its output is for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import click
from click.core import ParameterSource

import featurestore
from featurestore.client.sync import Store
from featurestore.model.errors import NotFound

DEFAULT_STORE = Path(".featurestore")

P = ParamSpec("P")


@dataclass(frozen=True)
class Session:
    """What every command of a store is told.

    Attributes:
        target: `host:port` of a gateway; empty for the local store in `folder`.
        timeout: seconds for each call; None for the client's defaults.
        json: print for programs.
    """

    folder: Path
    target: str
    timeout: float | None
    json: bool

    @contextmanager
    def opened(self, *, make: bool = False) -> Iterator[Store]:
        """The store, for as long as the context is open.

        Args:
            make: a local store that does not exist is made; else a mistyped path would become an empty store.

        Raises:
            NotFound: `NO_STORE`.
        """
        if not self.target and not make and not self.folder.exists():
            raise NotFound(
                "NO_STORE",
                f"there is no store in {self.folder}: make one with `featurestore publish` or `featurestore demo`,"
                " or name another with --store or --target",
                path=self.folder,
            )
        with featurestore.connect(self.target) if self.target else featurestore.local(self.folder) as store:
            yield store


def store_options(function: Callable[Concatenate[Session, P], None]) -> Callable[P, None]:
    """Give a command --store, --target, --timeout and --json; it is called with a `Session` in their place."""

    @click.option("--store", "folder", type=click.Path(path_type=Path), help="Folder of a local store.")
    @click.option("--target", envvar="FEATURESTORE_TARGET", help="A gateway.", metavar="HOST:PORT")
    @click.option(
        "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="For each call."
    )
    @click.option("--json", is_flag=True, help="Print JSON for programs, one object a line.")
    @click.pass_context
    @wraps(function)
    def command(ctx: click.Context, /, *args: Any, **given: Any) -> None:
        folder, target, timeout, json = (given.pop(name) for name in ("folder", "target", "timeout", "json"))
        if folder is not None and target:
            if ctx.get_parameter_source("target") is not ParameterSource.ENVIRONMENT:
                raise click.UsageError("give --store or --target, not both.")
            target = None  # what is written beats what is set
        session = Session(folder or DEFAULT_STORE, target or "", timeout, json)
        function(session, *args, **given)

    return command
