"""MLflow model folders: `MLmodel` names the flavour and its file, another loader opens that.

Nothing that MLflow would install or import is: no `conda.yaml`, no `code` folder, no
`loader_module`; and the names that an MLmodel calls trusted are not, for it came with the model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from limecli.errors import ModelError
from limecli.models.info import ModelInfo
from limecli.models.interface import LoadOptions, ModelFile, ModelLoader, missing_packages
from limecli.models.versions import other_versions, skew_notes
from limecli.types import Predictor

MLMODEL = "MLmodel"
_MAX_BYTES = 4 << 20  # an MLmodel of ten thousand columns is about 1 MB
_CODE = "mlflow.pyfunc.model"
_FLAVORS = {
    # flavour: where it names its file, that library's key for its version, the library
    "sklearn": ("pickled_model", "sklearn_version", "scikit-learn"),
    "xgboost": ("data", "xgb_version", "xgboost"),
    "lightgbm": ("data", "lgb_version", "lightgbm"),
    "catboost": ("data", "catboost_version", "catboost"),
    "keras": ("data", "keras_version", "keras"),
    "tensorflow": ("data", "keras_version", "keras"),
    "onnx": ("data", "onnx_version", "onnx"),
    "pytorch": ("model_data", "pytorch_version", "torch"),
}
_DRIFTS = ("scikit-learn", "xgboost", "lightgbm", "catboost")  # what their versions changes
_INSIDE = ("model.keras", "model.h5", "model.pt2", "model.pth")  # of a flavour that names a folder
_FORMATS = ("pickle", "skops", "xgboost", "lightgbm", "catboost", "keras", "onnx", "torch")


@dataclass(frozen=True)
class _Model:
    """What an MLmodel file says, and where it lies."""

    folder: Path
    flavor: str
    flavors: dict[str, Any]
    columns: tuple[tuple[str, str], ...]  # names and types of the signature's inputs
    versions: dict[str, str]
    uuid: str | None
    digest: str  # of MLmodel itself

    @property
    def file(self) -> Path:
        """The flavour's file. Raises ModelError when it is none that can be opened."""
        named = self.flavors[self.flavor].get(_FLAVORS[self.flavor][0], "model")
        path = _within(self.folder, named)
        if not path.is_dir():
            return path
        for name in _INSIDE:
            if (path / name).exists():
                return _within(self.folder, f"{named}/{name}")
        if any(path.rglob("saved_model.pb")):
            raise _saved_model(self.folder)
        raise ModelError(f"{path} has no model in it that limecli reads")


class MlflowLoader:
    """Finds the model inside the folder and hands it to the loader of its format."""

    requires = ("yaml",)

    def matches(self, file: ModelFile) -> bool:
        """A folder with an MLmodel, or that file itself."""
        if file.is_folder:
            return (file.path / MLMODEL).is_file()
        return file.path.name == MLMODEL and b"flavors:" in file.head

    def load(self, file: ModelFile, options: LoadOptions) -> Predictor:
        """Raises ModelError when the flavour, its file or its place is none to be opened."""
        folder = _folder(file)
        before = ModelFile(str(folder)).sha256
        model = _read(folder)
        path = model.file
        inner = _opened(path)
        name, loader = _loader(model, inner)
        missing = missing_packages(loader.requires)
        if missing:
            raise ModelError(
                f"{inner.name} needs {' and '.join(missing)}, not installed here",
                f"install it: pip install 'limecli[{name}]'",
            )
        predictor = loader.load(_whole(inner) if name == "onnx" else inner, options)
        read = {folder / MLMODEL: model.digest, path: inner.sha256 or ""}
        if _listing(folder, read) != before:
            raise ModelError(f"{folder} changed while it was read", "try again")
        return replace(
            _with_signature(predictor, model, options),
            path=str(folder),
            sha256=before,
            format=f"mlflow/{model.flavor}",
            notes=(*_skew(model, predictor.notes), *predictor.notes),
        )

    def inspect(self, file: ModelFile, options: LoadOptions) -> ModelInfo:
        """What MLmodel says, and what the model inside says of itself."""
        model = _read(_folder(file))
        info = ModelInfo(format="")
        try:
            inner = _opened(model.file)
            name, loader = _loader(model, inner)
            missing = missing_packages(loader.requires)
            if missing:
                needs = " and ".join(missing)
                info = replace(info, missing=(f"{name} models need {needs}, not installed here",))
            else:
                info = loader.inspect(_whole(inner) if name == "onnx" else inner, options)
            at = inner.path.relative_to(model.folder).as_posix()
            info = replace(info, notes=(f"the model is {at}, of format {name}", *info.notes))
        except ModelError as error:
            info = replace(info, missing=(error.message,))
        names = tuple(name for name, _ in model.columns) or None
        if info.n_features not in (None, len(model.columns)):
            names = None
        notes = info.notes
        if model.uuid:
            notes = (*notes, f"MLflow's model_uuid is {model.uuid}")
        return replace(
            info,
            format=f"mlflow/{model.flavor}",
            feature_names=info.feature_names or names,
            saved_with={**model.versions, **info.saved_with},
            notes=notes,
        )


def _folder(file: ModelFile) -> Path:
    folder = file.path if file.is_folder else file.path.parent
    # A folder without a name of its own has no place beside it for a background.
    return folder if folder.name not in ("", "..") else folder.resolve()


def _read(folder: Path) -> _Model:
    path = _within(folder, MLMODEL)
    data = _opened(path).data if path.stat().st_size <= _MAX_BYTES else b""
    try:
        content = _yaml(data)
        flavors = {str(name): dict(value) for name, value in content["flavors"].items()}
        flavor = _flavor(folder, flavors)
        written = content.get("mlflow_version")
        versions = {"mlflow": written} if isinstance(written, str) else {}
        if flavor in _FLAVORS:
            _, key, library = _FLAVORS[flavor]
            if isinstance(flavors[flavor].get(key), str):
                versions[library] = flavors[flavor][key]
        return _Model(
            folder=folder,
            flavor=flavor,
            flavors=flavors,
            columns=_columns(content.get("signature")),
            versions=versions,
            uuid=uuid[:64] if isinstance(uuid := content.get("model_uuid"), str) and uuid else None,
            digest=hashlib.sha256(data).hexdigest(),
        )
    except ModelError:
        raise
    except Exception as error:  # YAML of any other shape raises anything
        raise ModelError(f"{path} is no MLmodel that can be read: {_first_line(error)}") from error


def _yaml(data: bytes) -> Any:
    """Plain YAML without aliases, of which a few lines can unfold to gigabytes. MLflow has none."""
    import yaml  # type: ignore[import-untyped]

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise ValueError("it has YAML aliases: refused")
            return super().compose_node(parent, index)

    return yaml.load(data, Loader)  # noqa: S506 - a SafeLoader


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _flavor(folder: Path, flavors: dict[str, Any]) -> str:
    """The flavour that a loader of limecli can open. Raises ModelError when there is none."""
    for name in _FLAVORS:
        if name in flavors:
            return name
    others = [name for name in flavors if name != "python_function"]
    if not others and flavors.get("python_function", {}).get("loader_module") == _CODE:
        raise ModelError(
            f"{folder} is a Python model of MLflow's: code of its own, which is not run",
            "wrap it: a module with load = mlflow.pyfunc.load_model(...), then"
            " limecli tabular yourmodule:load.predict",
        )
    raise ModelError(
        f"{folder} is of MLflow's flavour {', '.join(others) or 'python_function'}, which limecli"
        " does not read",
        f"it reads {', '.join(_FLAVORS)}",
    )


def _saved_model(folder: Path) -> ModelError:
    return ModelError(
        f"{folder} holds a TensorFlow SavedModel: a program, not a network that can be checked",
        "save the network as a file: model.save('model.keras'), or convert it with tf2onnx",
    )


def _columns(signature: Any) -> tuple[tuple[str, str], ...]:
    """Names and types of a signature of columns; () for tensors and where there is none."""
    if not isinstance(signature, dict) or not isinstance(signature.get("inputs"), str):
        return ()
    found = [
        (column.get("name"), column.get("type"))
        for column in json.loads(signature["inputs"])
        if column.get("type") != "tensor"
    ]
    if not all(isinstance(name, str) and isinstance(kind, str) for name, kind in found):
        return ()
    return tuple(found)


def _within(folder: Path, named: Any) -> Path:
    """A path below the folder. Raises ModelError for one that leads out or is not there."""
    outside = not isinstance(named, str) or not named or "\0" in named
    if not outside:
        pure = PurePosixPath(named)
        outside = pure.is_absolute() or ".." in pure.parts or "\\" in named
        path = folder / pure
        outside = outside or not path.resolve().is_relative_to(folder.resolve())
    if outside:
        raise ModelError(f"{folder} names a model outside of itself: {str(named)[:80]}: refused")
    if not path.exists():
        raise ModelError(
            f"{folder} names {named} in its MLmodel, but there is no such file",
            "copy or download the whole folder",
        )
    return path


def _opened(path: Path) -> ModelFile:
    if not path.is_file():  # a named pipe would be waited for
        raise ModelError(f"{path} is no file")
    return ModelFile(str(path))


def _loader(model: _Model, inner: ModelFile) -> tuple[str, ModelLoader]:
    from limecli.models.detect import find_loader

    name, loader = find_loader(inner)
    if name not in _FORMATS:  # an MLmodel that names itself, for one
        raise ModelError(f"{inner.name} is of format {name}, which is no {model.flavor} model")
    return name, loader


def _whole(inner: ModelFile) -> ModelFile:
    """An ONNX model with the weights that MLflow writes beside it."""
    import onnx

    from limecli.models.onnx_graph import tensors_of

    try:
        proto = onnx.load_model_from_string(inner.data)
        tensors = [item for item in tensors_of(proto) if item.external_data]
        if not tensors:
            return inner
        for tensor in tensors:
            for entry in tensor.external_data:
                if entry.key == "location":
                    _within(inner.path.parent, entry.value)
        onnx.load_external_data_for_model(proto, str(inner.path.parent))
        return ModelFile(inner.name, proto.SerializeToString())
    except ModelError:
        raise
    except Exception as error:  # protobuf and onnx raise many kinds for damaged files
        raise ModelError(f"{inner.name} is a damaged ONNX model: {_first_line(error)}") from error


def _listing(folder: Path, read: dict[Path, str]) -> str:
    """The hash that ModelFile gives a folder, of what was read where something was."""
    listing = hashlib.sha256()
    for path in _files(folder):
        digest = read.get(path) or hashlib.sha256(path.read_bytes()).hexdigest()
        listing.update(f"{digest}  {path.relative_to(folder).as_posix()}\n".encode())
    return listing.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file())


def _with_signature(predictor: Predictor, model: _Model, options: LoadOptions) -> Predictor:
    """The columns' names where the model knows none, and which of them are strings."""
    if options.kind != "tabular" or not model.columns:
        return predictor
    names = predictor.feature_names
    strings = {name for name, kind in model.columns if kind == "string"}
    if names is None and predictor.n_features in (None, len(model.columns)):
        columns = [name for name, _ in model.columns]
        predict_fn = predictor.predict_fn
        predictor = replace(
            predictor,
            feature_names=tuple(columns),
            predict_fn=lambda frame: predict_fn(frame[columns]),
        )
        names = predictor.feature_names
    texts = (*predictor.text_features, *(name for name in names or () if name in strings))
    return replace(predictor, text_features=tuple(dict.fromkeys(texts)))


def _skew(model: _Model, said: tuple[str, ...]) -> tuple[str, ...]:
    versions = {name: model.versions[name] for name in _DRIFTS if name in model.versions}
    told = " ".join(said)
    others = other_versions(versions).items()
    return skew_notes({name: text for name, text in others if f"saved with {name} " not in told})
