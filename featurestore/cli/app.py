"""The root command, and what becomes of an error: one line on standard error and an exit code."""

from __future__ import annotations

from collections.abc import Sequence

import click

from featurestore import __version__
from featurestore.cli import applying, asking, catalogue, operating, tables, warming
from featurestore.cli.demo import demo
from featurestore.cli.output import print_error
from featurestore.model.errors import FeatureStoreError

FAILED, MISUSED, INTERRUPTED = 1, 2, 130

_FIRST_STEPS = """\
Training and serving run the same SQL, the same code and the same schema.

Three commands to begin with:

  featurestore demo                         the whole story, on simulated customers
  featurestore publish users users.parquet  your own data, into ./.featurestore
  featurestore query train 'SELECT * FROM feature_store.users'

All commands: featurestore --help
"""


class _InOrder(click.Group):
    """Lists its commands as they were added, which is the order in which they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)


@click.group(cls=_InOrder, invoke_without_command=True, context_settings={"max_content_width": 110})
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A feature store in which training and serving run the same SQL, the same code and the same schema.

    Commands work on --store PATH or --target HOST:PORT, else on FEATURESTORE_TARGET, else on ./.featurestore.
    """
    if ctx.invoked_subcommand is None:
        click.echo(_FIRST_STEPS, nl=False)


for command in (
    demo,
    tables.publish,
    asking.query,
    asking.extract,
    asking.explain,
    warming.warm,
    asking.verify,
    applying.apply,
    tables.tables,
    catalogue.queries,
    catalogue.etls,
    catalogue.status,
    tables.delete,
    tables.drop,
    operating.serve,
    operating.health,
):
    cli.add_command(command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (default: this process's own) and return its exit code.

    A refusal becomes one line, `error: <message> [REASON]`; anything else that goes wrong is a bug and shows itself.
    """
    try:
        code = cli.main(arguments, prog_name="featurestore", standalone_mode=False)
    except FeatureStoreError as error:
        return _failed(str(error), FAILED)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return MISUSED
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "featurestore"
        return _failed(f"{error.format_message()} See '{path} --help'. [USAGE]", MISUSED)
    except (click.Abort, KeyboardInterrupt):
        return _failed("interrupted [INTERRUPTED]", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _failed(message: str, code: int) -> int:
    print_error(message)
    return code
