"""What the inert objects of a pickle say of themselves: estimator tree, task, classes, columns."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from importlib.machinery import PathFinder
from itertools import islice
from pathlib import Path
from typing import Any

from limecli.models.inert import Contents, Inert, Name, read_inert, walk
from limecli.models.info import ModelInfo, Part
from limecli.models.interface import ModelFile
from limecli.models.trust import install_line, trusted_names
from limecli.types import Task

_MAX_DEPTH = 12
_MAX_PARTS = 200
_LOOKED_AT = 100_000
_NAMED_STEPS = ("steps", "transformers_", "transformer_list")
_INNER = ("best_estimator_", "steps", "_final_estimator", "estimator_", "regressor_")


def describe_pickle(file: ModelFile, trust: frozenset[str]) -> ModelInfo:
    """Read a pickle inertly. Raises ModelError when it breaks off before any object is whole."""
    contents = read_inert(file, trust)
    if contents.damage is not None and not contents.wants:
        raise contents.damage
    return describe(contents, "pickle")


def describe(contents: Contents, format_name: str) -> ModelInfo:
    """What was read inertly, in the words of a ModelInfo."""
    root, damage = contents.root, contents.damage
    notes = [damage.message] if damage else []
    info = ModelInfo(
        format=format_name,
        saved_with=contents.versions,
        wants=contents.names,
        missing=_missing(contents),
        damaged=damage is not None,
    )
    if not isinstance(root, Inert):
        if damage is None:
            notes.append(f"it holds a {type(root).__name__}, not a model")
        return replace(info, notes=tuple(notes))
    try:
        return _described(info, root, notes)
    except Exception as error:  # parts of no known shape: a file may hold anything
        notes.append(f"its parts cannot be told ({type(error).__name__})")
        return replace(info, estimator=Part("", _class(root)), notes=tuple(notes))


def _described(info: ModelInfo, root: Inert, notes: list[str]) -> ModelInfo:
    if (root.maker.module, root.maker.name) in trusted_names() and not _is_fitted(root):
        notes = [*notes, "it is not fitted"]
    return replace(
        info,
        estimator=_Tree().part("", root),
        task=_task(root),
        class_names=_class_names(root),
        feature_names=_feature_names(root),
        n_features=_n_features(root),
        notes=tuple(notes),
    )


def _missing(contents: Contents) -> tuple[str, ...]:
    found = [_allowed(name) for name in contents.untrusted]
    found += contents.refusals
    libraries = dict.fromkeys(
        item.name.partition(".")[0] for item in contents.names if item.trusted
    )
    here = [str(Path.cwd()), *sys.path]
    found += [
        f"{library} is not installed: {install_line(library)}"
        for library in libraries
        if library not in sys.modules and PathFinder.find_spec(library, here) is None
    ]
    return tuple(found)


def _allowed(name: str) -> str:
    own = name.removeprefix("__main__.")
    if own == name:
        return f"{name} is not trusted: --trust {name}"
    return (
        f"{name} lived in the script that saved the model: move it into a module, say mymodule.py"
        f" in {Path.cwd()}, and pass --trust mymodule.{own}"
    )


def _class(model: Inert) -> str:
    maker = model.maker
    return maker.name if (maker.module, maker.name) in trusted_names() else str(maker)


def _is_fitted(value: Any) -> bool:
    return isinstance(value, Inert) and any(
        (key.endswith("_") and not key.startswith("_"))
        or key in ("steps", "_Booster", "handle", "_handle", "__model", "_init_params")
        for key in value.attributes
    )


def _is_template(key: str, model: Inert) -> bool:
    """Whether what a model was given to fit hangs there, beside what it has fitted."""
    fitted = (f"{key}_", "best_estimator_", "calibrated_classifiers_")
    given = key in ("estimator", "estimators", "regressor", "transformer")
    return given and any(name in model.attributes for name in fitted)


class _Tree:
    """Builds the tree of parts; what hangs in several places is opened in the first one only."""

    def __init__(self) -> None:
        self._opened: set[int] = set()

    def part(self, name: str, model: Inert, depth: int = 0) -> Part:
        """A node and what is below it."""
        if depth > _MAX_DEPTH or id(model) in self._opened:
            return Part(name, _class(model))
        self._opened.add(id(model))
        steps = next((key for key in _NAMED_STEPS if key in model.attributes), None)
        if steps is not None:
            inner = [
                self._step(item, depth) for item in model.attributes[steps][:_MAX_PARTS]
                if isinstance(item, tuple) and len(item) > 1
            ]  # fmt: skip
            return Part(name, _class(model), tuple(inner))
        parts: list[Part] = []
        taken: set[int] = set()
        for key, value in model.attributes.items():
            alike = [item for item in _items(value) if _is_fitted(item) and id(item) not in taken]
            if not alike or _is_template(key, model):
                continue
            taken.update(id(item) for item in alike)
            first = self.part(key, alike[0], depth + 1)
            if len(alike) > 1 and len({_class(item) for item in alike}) == 1:
                parts.append(Part(key, first.estimator, first.parts, len(alike)))
            else:
                parts += [first, *(self.part(key, item, depth + 1) for item in alike[1:])]
        return Part(name, _class(model), tuple(parts[:_MAX_PARTS]))

    def _step(self, item: tuple[Any, ...], depth: int) -> Part:
        name = f"{item[0]} ({_columns(item[2])})" if len(item) > 2 else str(item[0])
        if isinstance(item[1], Inert):
            return self.part(name, item[1], depth + 1)
        return Part(name, item[1] if isinstance(item[1], str) else type(item[1]).__name__)


def _columns(value: Any) -> str:
    if isinstance(value, list) and value:
        shown = ", ".join(str(item) for item in value[:6])
        return shown + (", ..." if len(value) > 6 else "")
    return str(value) if isinstance(value, str | int) else "columns"


def _items(value: Any) -> list[Any]:
    import numpy as np

    if isinstance(value, np.ndarray):
        return list(value.ravel()) if value.dtype.hasobject else []
    found = islice(walk(value, 2), _LOOKED_AT)
    return [item for item in found if isinstance(item, Inert)]


def _chain(model: Inert, last: bool) -> list[Inert]:
    """The model and what it hands its work to: the last step of each Pipeline, or the first."""
    found, current = [model], model
    while len(found) < _MAX_DEPTH:
        inner: Any = None
        for key in _INNER:
            inner = current.attributes.get(key)
            if key == "steps" and isinstance(inner, list) and inner:
                inner = inner[-1 if last else 0][1]
            if isinstance(inner, Inert):
                break
        if not isinstance(inner, Inert) or inner in found:
            break
        found.append(inner)
        current = inner
    return found


def _first(models: list[Inert], *keys: str) -> Any:
    found = (model.attributes.get(key) for model in models for key in keys)
    return next((value for value in found if value is not None), None)


def _strings(value: Any) -> tuple[str, ...] | None:
    import numpy as np

    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype != object:
        return tuple(str(item) for item in value)
    if isinstance(value, np.ndarray | list):
        items = list(value)
        plain = all(isinstance(item, str | int | float | bool) for item in items)
        return tuple(str(item) for item in items) if plain else None
    return None


def _class_names(model: Inert) -> tuple[str, ...] | None:
    return _strings(_first(_chain(model, last=True), "classes_", "_classes"))


def _feature_names(model: Inert) -> tuple[str, ...] | None:
    return _strings(_first(_chain(model, last=False), "feature_names_in_"))


def _n_features(model: Inert) -> int | None:
    count = _first(_chain(model, last=False), "n_features_in_")
    names = _feature_names(model)
    return int(count) if isinstance(count, int) else len(names) if names else None


def _task(model: Inert) -> Task | None:
    for item in reversed(_chain(model, last=True)):
        if item.attributes.get("classes_") is not None or item.maker.name.endswith("Classifier"):
            return "classification"
        if item.maker.name.endswith("Regressor"):
            return "regression"
    return _mixin(_chain(model, last=True)[-1].maker)


def _mixin(maker: Name) -> Task | None:
    """What scikit-learn's own class says. Only a name of the table is imported."""
    if (maker.module, maker.name) not in trusted_names() or not maker.module.startswith("sklearn."):
        return None
    from sklearn.base import ClassifierMixin, RegressorMixin

    try:
        cls = getattr(import_module(maker.module), maker.name)
    except (ImportError, AttributeError):  # of another version
        return None
    if isinstance(cls, type) and issubclass(cls, ClassifierMixin):
        return "classification"
    return "regression" if isinstance(cls, type) and issubclass(cls, RegressorMixin) else None
