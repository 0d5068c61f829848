"""`selfinstruct`: the outermost frame. Every error ends here as one clear message and an exit code of `errors`."""

from __future__ import annotations

import sys
import traceback

import typer
from typer.exceptions import TyperException

from selfinstruct import __version__
from selfinstruct.cli import (
    audit,
    best_of_n,
    binarize,
    complete,
    dialogue,
    doctor,
    export,
    feedback,
    filter,
    finetune,
    generate,
    inspect,
    loop,
    models,
    plan,
    refilter,
    repair,
    serve,
    show,
)
from selfinstruct.errors import OutputFailed, SelfinstructError

app = typer.Typer(
    name="selfinstruct",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 2 usage, 3 too many unusable answers, 4 limit or exhausted, 5 damage, 65 bad data,"
    " 74 I/O, 75 try again later, 77 key or quota, 78 configuration, 129/130/143 interrupted."
    " Running the same command again resumes.",
)
app.command("generate")(generate.generate)
app.command("dialogue")(dialogue.dialogue)
app.command("feedback")(feedback.feedback)
app.command("audit")(audit.audit)
app.command("binarize")(binarize.binarize)
app.command("complete")(complete.complete)
app.command("plan", context_settings=plan.SETTINGS)(plan.plan)
app.command("doctor")(doctor.doctor)
app.command("status")(inspect.status)
app.command("show")(show.show)
app.command("export")(export.export)
app.command("filter")(filter.filter)
app.command("refilter")(refilter.refilter)
app.command("verify")(repair.verify)
app.command("rebuild")(repair.rebuild)
app.command("skip")(repair.skip)
app.add_typer(finetune.app, name="finetune")
app.command("best-of-n")(best_of_n.best_of_n)
app.command("serve")(serve.serve)
app.command("loop")(loop.loop)
app.add_typer(models.app, name="models")


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True)) -> None:
    """Instruction data from seed tasks: resumable, explained record by record, never paid for twice."""
    if version:
        typer.echo(f"selfinstruct {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; the console script."""
    sys.exit(_run())


def _run() -> int:
    try:
        code = app(standalone_mode=False)
    except TyperException as error:  # a usage error
        if not sys.argv[1:]:
            typer.echo(error.format_message())  # no command at all: the help
            return error.exit_code
        message = error.format_message().replace("Value error, ", "").rstrip(".")
        typer.echo(f"selfinstruct: {message}; see --help", err=True)
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except SelfinstructError as error:
        typer.echo(f"selfinstruct: {error}", err=True)
        return error.exit_code
    except SystemExit:  # how Typer ends when a pipe's reader has enough: `selfinstruct export … | head`
        return 0
    except OSError as error:  # standard output on a full disk; a file that cannot be read
        typer.echo(f"selfinstruct: {error}", err=True)
        return OutputFailed.exit_code
    except Exception:
        traceback.print_exc()
        typer.echo("selfinstruct: this is a bug of ours; what was recorded is safe, running again goes on", err=True)
        return 1
    return int(code or 0)
