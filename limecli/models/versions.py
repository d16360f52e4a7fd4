"""Models saved with other versions of a library: the line that says so, and what to install."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from limecli.errors import LimecliError, ModelError
from limecli.types import Predictor

OLDEST_SKLEARN = (1, 5)  # that limecli's own requirement lets anyone install


@cache
def installed_version(library: str) -> str | None:
    """The installed version of a package; xgboost also comes as xgboost-cpu."""
    for name in (library, f"{library}-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def plain_version(text: object) -> str:
    """A version as a file tells it, or "": it goes into a line that the user may paste."""
    plain = isinstance(text, str) and re.fullmatch(r"\d[\w.+!]{0,30}", text, re.ASCII)
    return str(text) if plain else ""


def other_versions(saved_with: Mapping[str, str]) -> dict[str, str]:
    """Those versions out of a file that are not the installed ones."""
    return {
        library: saved
        for library, saved in saved_with.items()
        if plain_version(saved) and saved != installed_version(library)
    }


def skew_notes(others: Mapping[str, str]) -> tuple[str, ...]:
    """What to say of a model that loads all the same, one line a library."""
    return tuple(
        f"saved with {library} {saved}, loaded with {installed_version(library) or 'none'}:"
        " predictions may differ from those at the time"
        for library, saved in others.items()
    )


def mismatch(name: str, what: str, others: Mapping[str, str], end: str = "") -> ModelError:
    """The failure of loading, with the versions that explain it where the file tells them."""
    what = " ".join(what.split())[:300]
    what = what if name in what else f"{name} cannot be used: {what}"
    if not others:
        hint = "install the library versions that the model was saved with"
        return ModelError(what + end, hint)
    return ModelError(f"{what} ({_both(others)}){end}", _install_hint(others))


def _both(others: Mapping[str, str]) -> str:
    return "; ".join(
        f"saved with {library} {saved}, installed is {installed_version(library) or 'none'}"
        for library, saved in others.items()
    )


def _install_hint(others: Mapping[str, str]) -> str:
    saved = others.get("scikit-learn", "")
    if saved and tuple(map(int, re.findall(r"\d+", saved)[:2])) < OLDEST_SKLEARN:
        oldest = ".".join(map(str, OLDEST_SKLEARN))
        return (
            f"limecli needs scikit-learn {oldest} or later: fit the model again, or convert it"
            f" (to ONNX, say) where {saved} is installed"
        )
    packages = " ".join(f"'{library}=={saved}'" for library, saved in others.items())
    return f"install the version that it was saved with: pip install {packages}"


def with_hint(predictor: Predictor, others: Mapping[str, str]) -> Predictor:
    """A predictor whose failures mention that the versions differ."""
    if not others:
        return predictor

    def predict_fn(batch: Any) -> Any:
        try:
            return predictor.predict_fn(batch)
        except LimecliError as error:
            # What the user's values cause has a hint of its own; what the model raised may not.
            inner = isinstance(error.__cause__, AttributeError | TypeError | KeyError | ImportError)
            if inner or (error.__cause__ is not None and not error.hint):
                error.message += f" ({_both(others)})"
                error.hint = _install_hint(others)
            raise

    return replace(predictor, predict_fn=predict_fn)
