"""The command line: the only package that imports typer."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from limecli import __version__
from limecli.cli import explain, files
from limecli.cli.console import Console, failed, use
from limecli.errors import UsageError

CONFIG = "limecli.toml"
_NEVER_FROM_FILES = {"trust"}


class Group(TyperGroup):
    """Turns every failure into one sentence and its exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            _apply_config(self, ctx)
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:
            raise typer.Exit(failed(error)) from None


def _apply_config(group: TyperGroup, ctx: Any) -> None:
    """Fill defaults from limecli.toml in the working directory: [tabular] seed = 1, or seed = 1."""
    try:
        content = tomllib.loads(Path(CONFIG).read_text("utf-8"))
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{CONFIG} cannot be read: {error}") from None
    defaults: dict[str, dict[str, Any]] = {name: {} for name in group.commands}
    known = {name: {str(param.name) for param in command.params}
             for name, command in group.commands.items()}  # fmt: skip
    everywhere = {key: value for key, value in content.items() if not isinstance(value, dict)}
    sections = {key: value for key, value in content.items() if isinstance(value, dict)}
    for key, value in everywhere.items():
        homes = [name for name in defaults if key.replace("-", "_") in known[name]]
        if not homes:
            raise UsageError(f"{CONFIG}: no command has an option {key!r}")
        for name in homes:
            defaults[name][key.replace("-", "_")] = value
    for name, section in sections.items():
        if name not in defaults:
            raise UsageError(f"{CONFIG}: there is no command [{name}]")
        for key, value in section.items():
            if key.replace("-", "_") not in known[name]:
                raise UsageError(f"{CONFIG}: {name} has no option {key!r}")
            defaults[name][key.replace("-", "_")] = value
    if any(_NEVER_FROM_FILES & set(section) for section in defaults.values()):
        raise UsageError(f"{CONFIG} must not say what to trust", "give --trust on the command line")
    ctx.default_map = defaults


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"auto_envvar_prefix": "LIMECLI", "help_option_names": ["-h", "--help"]},
    help="Explain decisions of any model file with LIME, and say how far to trust them.",
    epilog=(
        "Exit codes: 0 done, 1 a gate failed, 2 usage, 3 model, 4 input, 5 prediction, 6 report,"
        " 70 a bug, 130 interrupted, 141 the reader went away."
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"limecli {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Explain decisions of any model file with LIME, and say how far to trust them."""


explain.register(app)
files.register(app)


def main() -> None:
    """The console script."""
    use(Console())
    app(prog_name="limecli")
