"""Opens a model of any registered format, recognised by its content."""

from __future__ import annotations

import difflib
from pathlib import Path

from limecli import registry
from limecli.errors import ModelError
from limecli.models.info import ModelInfo
from limecli.models.interface import LoadOptions, ModelFile, ModelLoader, missing_packages
from limecli.types import Predictor


def find_loader(file: ModelFile) -> tuple[str, ModelLoader]:
    """The first registered format that recognises the content, and its name.

    Raises ModelError when the file is missing, empty, or of no known format.
    """
    if file.is_file and not file.head:
        raise ModelError(f"{file.name} is empty")
    for name in registry.available(registry.MODELS):
        loader: ModelLoader = registry.load(registry.MODELS, name)()
        if loader.matches(file):
            return name, loader
    if file.is_folder:
        raise ModelError(
            f"{file.name} is a folder, but not one of MLflow's with a model in it",
            "give the model file inside it",
        )
    if not file.is_file:
        raise ModelError(f"{file.name}: no such model file", _near(file.path))
    _refuse_known(file)
    what = "plain text" if _is_text(file.head[:4096]) else "of no format that limecli knows"
    raise ModelError(
        f"{file.name} is not a model file: its content is {what}",
        "limecli formats lists what can be read",
    )


def _near(path: Path) -> str:
    try:
        names = [other.name for other in path.parent.iterdir()]
    except FileNotFoundError:
        return f"check the path: there is no folder {path.parent}"
    except OSError:
        return "check the path"
    close = difflib.get_close_matches(path.name, names, 1)
    return f"did you mean {path.parent / close[0]}?" if close else "check the path"


def _refuse_known(file: ModelFile) -> None:
    """Raises ModelError for what often lies in a model's place, and can be told from its start."""
    start = file.head[:1024].lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        raise ModelError(
            f"{file.name} is a Git LFS pointer, not the model itself", "fetch it: git lfs pull"
        )
    if start.startswith((b"<!doctype html", b"<html")):
        raise ModelError(
            f"{file.name} is an HTML page, not a model",
            "the download went wrong: open it to see what the server said",
        )
    if file.head.startswith(b"PK\x03\x04") and not file.zip_names:
        raise ModelError(
            f"{file.name} is a zip archive that is cut short or damaged",
            "download or copy it again",
        )
    if start.startswith(b"{") and _is_catboost_json(file.data):
        raise ModelError(
            f"{file.name} is a CatBoost model as JSON, which limecli does not read",
            "save it as .cbm: model.save_model('model.cbm')",
        )


def _is_catboost_json(data: bytes) -> bool:
    names = b"catboost" in data and b'"model_info"' in data
    return names or b'"oblivious_trees"' in data


def load_model(path: str, options: LoadOptions) -> Predictor:
    """Open `path`. Raises ModelError, or PredictError when the model has no output to explain."""
    file = ModelFile(path)
    name, loader = find_loader(file)
    missing = missing_packages(loader.requires)
    if missing:
        raise ModelError(*_needs(name, missing))
    return loader.load(file, options)


def inspect_model(path: str, options: LoadOptions) -> tuple[ModelFile, ModelInfo]:
    """What is in `path`, nothing in it run; little when the packages that read it are missing."""
    file = ModelFile(path)
    name, loader = find_loader(file)
    missing = missing_packages(loader.requires)
    if missing:
        return file, ModelInfo(format=name, missing=("; ".join(_needs(name, missing)),))
    return file, loader.inspect(file, options)


def _needs(name: str, missing: list[str]) -> tuple[str, str]:
    packages = " and ".join(missing)
    verb = "are" if len(missing) > 1 else "is"
    return (
        f"{name} models need {packages}, which {verb} not installed",
        f"install it: pip install 'limecli[{name}]'",
    )


def _is_text(head: bytes) -> bool:
    try:
        return head.decode("utf-8").isprintable() or (b"\n" in head and b"\0" not in head)
    except UnicodeDecodeError:
        return False
