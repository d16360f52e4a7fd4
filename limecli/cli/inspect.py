"""`inspect`: what is in a model file, nothing in it run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limecli.cli.grouped import grouped
from limecli.cli.options import CommonOptions
from limecli.errors import ModelError
from limecli.models.versions import installed_version
from limecli.report.words import clean

if TYPE_CHECKING:
    from limecli.models.info import ModelInfo, Part, Port
    from limecli.models.interface import ModelFile

_LISTED = 12  # classes, features and trusted names shown on a terminal


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("inspect")(grouped(inspect))


def inspect(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Model file, folder or URL.", show_default=False),
    ],
    common: CommonOptions,
    trust: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE.NAME",
            help="Judge as if this name were trusted. Repeatable.",
            allow_from_autoenv=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Tell what is in a model file, and run nothing of it."""
    from limecli.models.detect import inspect_model
    from limecli.models.interface import LoadOptions

    common.console()
    options = LoadOptions(kind="tabular", trust=frozenset(trust or ()))
    file, info = inspect_model(model, options)
    if as_json:
        text = json.dumps(_as_json(file, info), ensure_ascii=False, allow_nan=False, indent=1)
    else:
        text = "\n".join(f"{key:<9} {clean(value)}".rstrip() for key, value in _lines(file, info))
    sys.stdout.write(text + "\n")
    if info.damaged:
        raise ModelError(info.notes[0])


def _as_json(file: ModelFile, info: ModelInfo) -> dict[str, Any]:
    content = asdict(info)
    content.pop("saved_with")
    return {
        "schema_version": 1,
        "path": file.name,
        "size": file.size,
        "sha256": file.sha256,
        **content,
        "versions": {
            library: {"saved": saved, "installed": installed_version(library)}
            for library, saved in info.saved_with.items()
        },
    }


def _lines(file: ModelFile, info: ModelInfo) -> Iterator[tuple[str, str]]:
    yield "model", file.name
    yield "format", info.format
    if file.is_file or file.is_folder:
        yield "size", _size(file.size)
        yield "sha256", file.sha256 or ""
    if info.estimator is not None:
        yield from _labelled("estimator", _tree(info.estimator, 0))
    if info.task is not None:
        yield "task", info.task
    if info.class_names is not None:
        yield "classes", f"{len(info.class_names)}: {_listed(info.class_names)}"
    if info.feature_names is not None:
        yield "features", f"{len(info.feature_names)}: {_listed(info.feature_names)}"
    elif info.n_features is not None:
        yield "features", f"{info.n_features}, without names"
    yield from _labelled("inputs", map(_port, info.inputs))
    yield from _labelled("outputs", map(_port, info.outputs))
    for library, saved in info.saved_with.items():
        here = installed_version(library)
        yield "saved", f"with {library} {saved}, installed is {here or 'none'}"
    trusted = [item.name for item in info.wants if item.trusted]
    others = [item.name for item in info.wants if not item.trusted]
    yield from _labelled("refused", others)
    if trusted:
        yield "trusted", f"{len(trusted)} names: {_listed(trusted)}"
    yield from _labelled("missing", info.missing)
    yield from _labelled("note", info.notes)


def _labelled(label: str, lines: Any) -> Iterator[tuple[str, str]]:
    for i, line in enumerate(lines):
        yield "" if i else label, line


def _tree(part: Part, depth: int) -> Iterator[str]:
    times = f"{part.count} x " if part.count > 1 else ""
    name = f"{part.name}: " if part.name else ""
    yield f"{'  ' * depth}{name}{times}{part.estimator}"
    for inner in part.parts:
        yield from _tree(inner, depth + 1)


def _port(port: Port) -> str:
    if port.shape is None:
        return f"{port.name} {port.type}"
    return f"{port.name} {port.type}[{', '.join('?' if n is None else str(n) for n in port.shape)}]"


def _listed(names: Any) -> str:
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")


def _size(count: int) -> str:
    size, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{count} bytes" if unit == "B" else f"{size:.1f} {unit} ({count} bytes)"
