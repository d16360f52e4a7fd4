"""The decorator that spreads a command's groups of options out into single ones."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints


@functools.cache
def _hints(bundle: Any) -> dict[str, Any]:
    return get_type_hints(bundle, include_extras=True)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Spread a command's parameters of the types above into one option for each field."""
    hints = get_type_hints(command, include_extras=True)
    bundles: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in bundles:
            types = _hints(bundles[name])
            parameters += [
                inspect.Parameter(
                    field.name, parameter.KEYWORD_ONLY, default=field.default,
                    annotation=types[field.name],
                )
                for field in fields(bundles[name])
            ]  # fmt: skip
        else:
            parameters.append(
                parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[name])
            )

    @functools.wraps(command)
    def spread(**values: Any) -> None:
        for name, kind in bundles.items():
            values[name] = kind(**{item.name: values.pop(item.name) for item in fields(kind)})
        command(**values)

    for parameter in parameters:
        for info in getattr(parameter.annotation, "__metadata__", ()):
            info.show_envvar = False  # the README says how they are named
    spread.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    spread.__annotations__ = {item.name: item.annotation for item in parameters}
    del spread.__wrapped__  # typer must see the signature above, not the command's own
    return spread
