"""Opens a model file of any registered format, recognised by its content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from limecli import registry
from limecli.errors import ModelError
from limecli.models.interface import LoadOptions, ModelFile, ModelLoader
from limecli.types import Predictor


def read_model_file(path: str) -> ModelFile:
    """Read a model file whole. Raises ModelError in one sentence when that cannot be done."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such model file") from None
    except IsADirectoryError:
        raise ModelError(
            f"{path} is a directory, not a model file", "give the file inside it"
        ) from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None
    if not data:
        raise ModelError(f"{path} is empty")
    return ModelFile(Path(path), data, hashlib.sha256(data).hexdigest())


def load_model(path: str, options: LoadOptions) -> Predictor:
    """Open `path` with the first registered format that recognises its content.

    Raises ModelError when none does, PredictError when the model has no output to explain.
    """
    file = read_model_file(path)
    for name in registry.available(registry.MODELS):
        loader: ModelLoader = registry.load(registry.MODELS, name)()
        if loader.matches(file):
            return loader.load(file, options)
    what = "plain text" if _is_text(file.data[:4096]) else "of no format that limecli knows"
    raise ModelError(
        f"{path} is not a model file: its content is {what}",
        "limecli formats lists what can be read",
    )


def _is_text(head: bytes) -> bool:
    try:
        return head.decode("utf-8").isprintable() or (b"\n" in head and b"\0" not in head)
    except UnicodeDecodeError:
        return False
