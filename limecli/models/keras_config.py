"""What a Keras file's configuration says of the model, read without Keras."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

from limecli.errors import ModelError
from limecli.models.info import ModelInfo, Part, Port
from limecli.models.interface import ModelFile
from limecli.types import Task

_MAX_LAYERS = 400
_HDF5 = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCK = 96  # bytes; behind the end of a shorter file HDF5 reads what happens to be there
_ROOM, _RATIO = 64 << 20, 100  # bytes that any file may unpack to, and how many times its size


def check_storage(file: ModelFile, hdf5: bool) -> None:
    """Raises ModelError for weights that lie in other files, or unpack to far more than the file.

    HDF5 follows its links and external storage to any file that the user can read.
    """
    most = _ROOM + _RATIO * len(file.data)
    try:
        if hdf5:
            return _check_hdf5(file.data, file.name, most)
        with zipfile.ZipFile(io.BytesIO(file.data)) as content:
            if sum(item.file_size for item in content.infolist()) > most:
                raise _too_large(file.name)
            for item in content.infolist():
                inner = content.read(item)
                if _HDF5 in inner:  # not always at its start
                    _check_hdf5(inner, file.name, most)
    except ModelError:
        raise
    except Exception as error:  # h5py and zipfile each raise their own
        raise damaged(file, error) from None


def damaged(file: ModelFile, error: Exception) -> ModelError:
    """One sentence; HDF5's own has addresses of its memory in it."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and "unable to" in text.lower():
        cut = len(file.data) < _SUPERBLOCK or "truncated" in text
        reason = "it is cut short" if cut else "it cannot be read"
        return ModelError(
            f"{file.name} is a damaged HDF5 file: {reason}", "copy or save the file again"
        )
    return ModelError(f"{file.name} is a damaged Keras file: {text[:200]}")


def _check_hdf5(data: bytes, name: str, most: int) -> None:
    import h5py

    total = 0

    def look(_: str, item: Any) -> None:
        nonlocal total
        if isinstance(item, h5py.Group):
            links = (item.get(key, getlink=True) for key in item)
            if any(isinstance(link, h5py.ExternalLink) for link in links):
                raise _elsewhere(name)
        elif isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise _elsewhere(name)
            total += item.nbytes
            if total > most:
                raise _too_large(name)

    with h5py.File(io.BytesIO(data), "r") as content:
        look("/", content)
        content.visititems(look)


def _elsewhere(name: str) -> ModelError:
    return ModelError(
        f"{name} keeps its weights in another file, which its sha256 does not cover: refused",
        "save it as one file: model.save('model.keras')",
    )


def _too_large(name: str) -> ModelError:
    return ModelError(f"{name} would unpack to far more than its own size: refused")


def describe_config(file: ModelFile, hdf5: bool) -> ModelInfo:
    """Layers, input shape and versions. Raises ModelError when there is no sound configuration."""
    try:
        config, saved = _from_hdf5(file) if hdf5 else _from_zip(file)
        layers = list(_layers(config))[:_MAX_LAYERS]
        root = Part("", f"Keras {config['class_name']}", tuple(part for part, _ in layers))
        last = layers[-1][1] if layers else {}
        return ModelInfo(
            format="keras",
            estimator=root,
            task=_task(last),
            inputs=tuple(_inputs(config)),
            saved_with={"keras": saved} if saved else {},
            missing=tuple(
                f"layer {part.name} is a Lambda, which carries Python code: refused"
                for part, _ in layers
                if part.estimator == "Lambda"
            ),
        )
    except ModelError:
        raise
    except Exception as error:  # h5py, zipfile and json each raise their own
        raise damaged(file, error) from error


def _from_hdf5(file: ModelFile) -> tuple[dict[str, Any], str]:
    import h5py

    with h5py.File(io.BytesIO(file.data), "r") as content:
        config = content.attrs.get("model_config")
        if config is None:
            raise ModelError(
                f"{file.name} is HDF5, but holds no Keras model with its architecture",
                "save the whole model: model.save('model.keras')",
            )
        return json.loads(config), str(content.attrs.get("keras_version", ""))


def _from_zip(file: ModelFile) -> tuple[dict[str, Any], str]:
    with zipfile.ZipFile(io.BytesIO(file.data)) as content:
        config = json.loads(content.read("config.json"))
        metadata = json.loads(content.read("metadata.json"))
    return config, str(metadata.get("keras_version", ""))


def _layers(config: dict[str, Any], depth: int = 0) -> Iterator[tuple[Part, dict[str, Any]]]:
    inner = config.get("config", {})
    listed = inner.get("layers", []) if isinstance(inner, dict) else inner
    for layer in listed:
        own = layer.get("config", {})
        nested = tuple(part for part, _ in _layers(layer, depth + 1)) if depth < 8 else ()
        name = own.get("name", "") if isinstance(own, dict) else ""
        yield Part(str(name), str(layer["class_name"]), nested), own


def _inputs(config: dict[str, Any]) -> Iterator[Port]:
    for layer in config.get("config", {}).get("layers", []):
        own = layer.get("config", {})
        shape = own.get("batch_shape") or own.get("batch_input_shape")
        if shape:
            sizes = tuple(size if isinstance(size, int) else None for size in shape)
            kind = own.get("dtype", "float32")
            yield Port(str(own.get("name", "")), kind if isinstance(kind, str) else "", sizes)


def _task(last: dict[str, Any]) -> Task | None:
    activation = last.get("activation")
    if activation in ("softmax", "sigmoid") or int(last.get("units") or 1) > 1:
        return "classification"
    return "regression" if last.get("units") == 1 else None
