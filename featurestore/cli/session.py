"""Which store a command works on, and whom its output is for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import click
from click.core import ParameterSource

import featurestore
from featurestore.client.sync import Store
from featurestore.model.errors import NotFound

DEFAULT_STORE = Path(".featurestore")

P = ParamSpec("P")
R = TypeVar("R")


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


def store_options(function: Callable[Concatenate[Session, P], R]) -> Callable[P, R]:
    """Give a command --store, --target, --timeout and --json; it is called with a `Session` in their place."""

    @click.option("--store", "folder", type=click.Path(path_type=Path), help="Folder of a local store.")
    @click.option(
        "--target", envvar="FEATURESTORE_TARGET", help="HOST:PORT of a gateway.", metavar="HOST:PORT"
    )
    @click.option(
        "--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds that a call may take."
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, one object a line.")
    @click.pass_context
    def command(
        ctx: click.Context,
        /,
        *args: object,
        folder: Path | None,
        target: str | None,
        timeout: float | None,
        as_json: bool,
        **rest: object,
    ) -> R:
        if folder is not None and target:
            if ctx.get_parameter_source("target") is not ParameterSource.ENVIRONMENT:
                raise click.UsageError("give --store or --target, not both.")
            target = None  # what is written beats what is set
        session = Session(folder or DEFAULT_STORE, target or "", timeout, as_json)
        return ctx.invoke(function, session, *args, **rest)

    command.__doc__ = function.__doc__
    command.__name__ = function.__name__
    command.__click_params__ = command.__click_params__ + getattr(function, "__click_params__", [])
    return command
