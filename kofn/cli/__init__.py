"""The command `kofn`: a terminal's view of the client, the launcher, the codes and the trainers.

Commands parse, call and print; what they call is usable without them. Each imports what it needs
when it runs, so that `kofn --help` is quick.
"""

import sys

import typer

from kofn.cli import (
    certificates,
    chaos,
    codes,
    demo,
    deploy,
    faults,
    infer,
    matmul,
    merge,
    models,
    plan,
    report,
    simulate,
    status,
    train,
    train_coded,
    up,
)
from kofn.cli.output import words
from kofn.settings import SettingsError
from kofn.wire.errors import KofnError

FAILED, INTERRUPTED = 1, 130

app = typer.Typer(
    help="Coded inference: predictions on time from slow, failing and lying workers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.command()(up.up)
app.command()(deploy.deploy)
app.command()(status.status)
app.command()(infer.infer)
app.command()(merge.merge)
app.command()(plan.plan)
app.command()(report.report)
app.command()(simulate.simulate)
app.command()(matmul.matmul)
app.add_typer(faults.app, name="faults")
app.command()(chaos.chaos)
app.command()(chaos.down)
app.command()(certificates.certificates)
app.add_typer(codes.app, name="codes")
app.add_typer(models.app, name="models")
app.add_typer(train.app, name="train")
app.command()(train_coded.train_coded)


def main() -> None:
    """Run the command line: 0 is done, 1 failed, 2 a wrong argument, 130 interrupted."""
    try:
        app()
    except (KofnError, SettingsError, ValueError, LookupError, OSError) as error:
        message = error.args[0] if isinstance(error, LookupError) and error.args else error
        words.print(f"kofn: {message}", markup=False, style="red")
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
