"""The command line: the only package that imports typer."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from limecli import __version__
from limecli.cli import audit, diff, explain, files, inspect, pick, render, verify
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


def _runs_code(key: str, value: Any) -> bool:
    """Whether a file that lies around could run code with it, or have a server called."""
    return key in ("trust", "trust_pickle", "database", "scheduler") or (
        key == "preprocess" and ":" in str(value)
    )


def _apply_config(group: TyperGroup, ctx: Any) -> None:
    """Fill defaults from limecli.toml in the working directory: [tabular] seed = 1, or seed = 1."""
    defaults: dict[str, Any] = {}
    # Never an argument: MODEL may be code that runs.
    options = {
        path: {str(p.name): p for p in command.params if p.opts[0].startswith("-")}
        for path, command in commands_of(group)
    }
    _take(_config(), (), options, defaults)
    ctx.default_map = defaults


def commands_of(group: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command by its words, those of groups too."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, (*above, name))
        else:
            yield (*above, name), command


def _take(
    content: dict[str, Any],
    section: tuple[str, ...],
    options: dict[tuple[str, ...], dict[str, Any]],
    defaults: dict[str, Any],
) -> None:
    """Put a section's values where they belong, those of the sections in it last."""
    below = [path for path in options if path[: len(section)] == section]
    if not below:
        raise UsageError(f"{CONFIG}: there is no command [{'.'.join(section)}]")
    for written, value in content.items():
        if isinstance(value, dict):
            continue
        key = written.replace("-", "_")
        homes = [path for path in below if key in options[path]]
        if not homes:
            who = " ".join(section) + " has no" if section else "no command has an"
            raise UsageError(f"{CONFIG}: {who} option {written!r}")
        if _runs_code(key, value):
            raise UsageError(
                f"{CONFIG} must not say what to trust or run", "give it on the command line"
            )
        for path in homes:
            own = defaults
            for word in path:
                own = own.setdefault(word, {})
            several = getattr(options[path][key], "multiple", False)
            own[key] = [value] if several and not isinstance(value, list) else value
    for name, value in content.items():
        if isinstance(value, dict):
            _take(value, (*section, name), options, defaults)


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
audit.register(app)
pick.register(app)
diff.register(app)
render.register(app)
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
