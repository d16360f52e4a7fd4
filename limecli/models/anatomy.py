"""What the inert objects of a pickle say of themselves: estimator tree, task, classes, columns."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from limecli.models.inert import Contents, Inert, Name, read_inert, walk
from limecli.models.interface import ModelFile
from limecli.models.trust import install_line, trusted_names
from limecli.types import ModelInfo, Part, Task

_MAX_DEPTH = 12
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
    )
    if not isinstance(root, Inert):
        if damage is None:
            notes.append(f"it holds a {type(root).__name__}, not a model")
        return replace(info, notes=tuple(notes))
    return replace(
        info,
        estimator=_part("", root, set(), 0),
        task=_task(root),
        class_names=_class_names(root),
        feature_names=_feature_names(root),
        n_features=_n_features(root),
        notes=tuple(notes),
    )


def _missing(contents: Contents) -> tuple[str, ...]:
    found = [f"{name} is not trusted: --trust {name}" for name in contents.untrusted]
    found += contents.refusals
    libraries = dict.fromkeys(
        item.name.partition(".")[0] for item in contents.names if item.trusted
    )
    found += [
        f"{library} is not installed: {install_line(library)}"
        for library in libraries
        if library not in ("__main__", "copy_reg") and find_spec(library) is None
    ]
    return tuple(found)


def _class(model: Inert) -> str:
    return model.maker.name


def _is_fitted(value: Any) -> bool:
    return isinstance(value, Inert) and any(
        key.endswith("_") and not key.startswith("_") for key in value.attributes
    )


def _part(name: str, model: Inert, seen: set[int], depth: int) -> Part:
    if depth > _MAX_DEPTH or id(model) in seen:
        return Part(name, _class(model))
    seen = seen | {id(model)}
    parts: list[Part] = []
    taken: set[int] = set()
    steps = next((key for key in _NAMED_STEPS if key in model.attributes), None)
    if steps is not None:
        for item in model.attributes[steps]:
            if isinstance(item, tuple) and len(item) > 1:
                columns = f" ({_columns(item[2])})" if len(item) > 2 else ""
                parts.append(_named(f"{item[0]}{columns}", item[1], seen, depth))
        return Part(name, _class(model), tuple(parts))
    for key, value in model.attributes.items():
        alike = [
            item for item in _items(value) if _is_fitted(item) and id(item) not in taken | seen
        ]
        if not alike:
            continue
        taken.update(id(item) for item in alike)
        first = _part(key, alike[0], seen, depth + 1)
        if len(alike) > 1 and len({_class(item) for item in alike}) == 1:
            parts.append(Part(key, first.estimator, first.parts, len(alike)))
        else:
            parts += [_part(key, item, seen, depth + 1) for item in alike]
    return Part(name, _class(model), tuple(parts))


def _named(name: str, value: Any, seen: set[int], depth: int) -> Part:
    if isinstance(value, Inert):
        return _part(name, value, seen, depth + 1)
    return Part(name, value if isinstance(value, str) else type(value).__name__)


def _columns(value: Any) -> str:
    if isinstance(value, list) and value:
        shown = ", ".join(str(item) for item in value[:6])
        return shown + (", ..." if len(value) > 6 else "")
    return str(value) if isinstance(value, str | int) else "columns"


def _items(value: Any) -> list[Any]:
    import numpy as np

    if isinstance(value, np.ndarray):
        return list(value.ravel()) if value.dtype.hasobject else []
    return [item for item in walk(value, 2) if isinstance(item, Inert)]


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


def _first(models: list[Inert], key: str) -> Any:
    return next((m.attributes[key] for m in models if m.attributes.get(key) is not None), None)


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
    return _strings(_first(_chain(model, last=True), "classes_"))


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
