"""The command line: the only package that imports typer."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from limecli import __version__
from limecli.cli import explain, files, inspect, verify
from limecli.cli.console import Console, failed, keep_stdout_clean, use
from limecli.errors import UsageError

CONFIG = "limecli.toml"


class Group(TyperGroup):
    """Turns every failure into one sentence and its exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        bare = not args  # `limecli` alone shows its help
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if not bare and (hasattr(error, "format_message") or isinstance(error, OSError)):
                raise typer.Exit(failed(error)) from None
            raise

    def invoke(self, ctx: Any) -> Any:
        try:
            _apply_config(self, ctx)
            return super().invoke(ctx)
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:
            raise typer.Exit(failed(error)) from None


def _config() -> dict[str, Any]:
    try:
        return tomllib.loads(Path(CONFIG).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{CONFIG} cannot be read: {error}") from None


def _runs_code(own: dict[str, Any]) -> bool:
    return bool({"trust", "trust_pickle"} & own.keys()) or ":" in str(own.get("preprocess", ""))


def _apply_config(group: TyperGroup, ctx: Any) -> None:
    """Fill defaults from limecli.toml in the working directory: [tabular] seed = 1, or seed = 1."""
    content = _config()
    options = {
        # Never an argument: MODEL may be code that runs.
        name: {str(p.name): p for p in command.params if p.opts[0].startswith("-")}
        for name, command in group.commands.items()
    }
    defaults: dict[str, dict[str, Any]] = {name: {} for name in options}

    def put(name: str, key: str, value: Any) -> None:
        several = getattr(options[name][key], "multiple", False) and not isinstance(value, list)
        defaults[name][key] = [value] if several else value

    sections = {key: value for key, value in content.items() if isinstance(value, dict)}
    for written in content.keys() - sections.keys():
        key = written.replace("-", "_")
        homes = [name for name in options if key in options[name]]
        if not homes:
            raise UsageError(f"{CONFIG}: no command has an option {written!r}")
        for name in homes:
            put(name, key, content[written])
    for name, section in sections.items():
        if name not in options:
            raise UsageError(f"{CONFIG}: there is no command [{name}]")
        for written, value in section.items():
            if written.replace("-", "_") not in options[name]:
                raise UsageError(f"{CONFIG}: {name} has no option {written!r}")
            put(name, written.replace("-", "_"), value)
    if any(_runs_code(own) for own in defaults.values()):
        raise UsageError(
            f"{CONFIG} must not say what to trust or run", "give it on the command line"
        )
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
        bool,
        typer.Option(
            "--version",
            callback=_version,
            is_eager=True,
            allow_from_autoenv=False,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    """Explain decisions of any model file with LIME, and say how far to trust them."""


explain.register(app)
files.register(app)
inspect.register(app)
verify.register(app)


def main() -> None:
    """The console script."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed before we began
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    # Processes that libraries start must not find modules in the working directory.
    os.environ["PYTHONSAFEPATH"] = "1"
    use(Console())
    keep_stdout_clean()
    code: Any = 0
    try:
        app(prog_name="limecli")
    except SystemExit as ended:
        code = ended.code
    try:
        sys.stdout.flush()
    except OSError as error:
        code = failed(error)
    sys.exit(code)
