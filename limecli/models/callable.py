"""`package.module:function`: a predict function of the user's own, from the working directory."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any

from limecli.errors import ModelError
from limecli.models.info import ModelInfo
from limecli.models.interface import LoadOptions, ModelFile
from limecli.models.outputs import checked
from limecli.types import Predictor, Task

_NAME = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<path>[^\W\d]\w*(?:\.[^\W\d]\w*)*)")
_TASKS: dict[str, Task] = {"classification": "classification", "regression": "regression"}


class CallableLoader:
    """Imports the module: its code runs. The name is typed by the user, no file can bring it.

    The function takes a pandas DataFrame, a list of strings or `uint8[n, h, w, 3]` and returns
    `float[n, k]`. Its attributes `task`, `class_names` and `feature_names` are heeded.
    """

    requires = ()

    def matches(self, file: ModelFile) -> bool:
        """A module, a colon and a name, where no file is called that."""
        return not (file.is_file or file.is_folder) and _NAME.fullmatch(file.name) is not None

    def load(self, file: ModelFile, options: LoadOptions) -> Predictor:
        """Raises ModelError when there is no such module or function, or importing it raises."""
        module_name, path = _parts(file)
        if "" not in sys.path:
            sys.path.insert(0, "")
        with contextlib.redirect_stdout(sys.stderr):
            module = _imported(module_name)
            found = _attribute(module, module_name, path)
        digest = _source_hash(module)
        if inspect.isclass(found):
            raise ModelError(
                f"{file.name} is a class, not a function",
                f"make one in {module_name}: model = {path}(...), then {module_name}:model",
            )
        if hasattr(found, "predict") or hasattr(found, "predict_proba"):
            return _adapted(found, file, options, digest)
        if not callable(found):
            raise ModelError(
                f"{file.name} is a {type(found).__name__}, not a function or a model",
                "it takes rows, texts or pictures and returns float[n, outputs]",
            )
        return _predictor(found, file, options, digest)

    def inspect(self, file: ModelFile, options: LoadOptions) -> ModelInfo:
        """Where the module lies. It is not imported, nor is the package around it."""
        module_name, path = _parts(file)
        asked = f"asked for is the function {path}, which only importing {module_name} would find"
        code = f"{file.name} is code: explaining it imports {module_name} and runs it"
        top = module_name.partition(".")[0]
        source = _place(top)
        if source is None:
            missing: tuple[str, ...] = (_not_found(module_name, top).message,)
            notes: tuple[str, ...] = ()
        else:
            missing, notes = (), (f"{top} is {source}",)
        return ModelInfo(
            format="callable",
            missing=missing,
            notes=(*notes, asked, code),
        )


def _parts(file: ModelFile) -> tuple[str, str]:
    module, _, path = file.name.partition(":")
    return module, path


def _place(top: str) -> str | None:
    """Where a top-level module is, by path alone: finding a submodule would import its parents."""
    added = "" not in sys.path
    if added:
        sys.path.insert(0, "")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    finally:
        if added:
            sys.path.remove("")
    if spec is None:
        return None
    return spec.origin or ", ".join(spec.submodule_search_locations or ())


def _not_found(module: str, missing: str) -> ModelError:
    what = f"there is no module {missing}"
    if missing != module:
        what += f", which {module} needs"
    return ModelError(what, f"modules are looked for in {Path.cwd()} and in this environment")


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        inside = name == missing or name.startswith(f"{missing}.")
        raise _not_found(name if not inside else missing, missing) from None
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # the user's module may raise anything, SystemExit included
        raise ModelError(
            f"importing {name} raised {type(error).__name__}: {_first_line(error)}",
            f"see where: python -c 'import {name}'",
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or "nothing more").splitlines()[0][:200]


def _attribute(module: Any, module_name: str, path: str) -> Any:
    found, seen = module, module_name
    for name in path.split("."):
        try:
            found, holder = getattr(found, name), found
        except AttributeError:
            near = difflib.get_close_matches(name, _names(found), 1)
            separator = ":" if seen == module_name else "."
            hint = f"did you mean {seen}{separator}{near[0]}?" if near else _there_are(found, seen)
            raise ModelError(f"{seen} has no {name}", hint) from None
        except Exception as error:  # a property of the user's own
            raise ModelError(
                f"{seen}: reading {name} raised {type(error).__name__}: {_first_line(error)}",
                f"see where: python -c 'import {module_name}; {module_name}.{path}'",
            ) from error
        seen += f"{':' if holder is module else '.'}{name}"
    return found


def _names(holder: Any) -> list[str]:
    """What could be meant: of a module neither other modules nor what it imports from them."""
    home = holder.__name__ if inspect.ismodule(holder) else None
    names = []
    for name in dir(holder):
        value = inspect.getattr_static(holder, name, None)
        imported = home and isinstance(value, type | FunctionType) and value.__module__ != home
        if not (name.startswith("_") or inspect.ismodule(value) or imported):
            names.append(name)
    return names


def _there_are(holder: Any, seen: str) -> str:
    names = _names(holder)
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"there are: {shown}" if names else f"{seen} has nothing that could be meant"


def _source_hash(module: Any) -> str | None:
    """sha256 of the module's source file; None for one without."""
    path = getattr(module, "__file__", None)
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else None
    except OSError:
        return None


def _adapted(model: Any, file: ModelFile, options: LoadOptions, digest: str | None) -> Predictor:
    from limecli.models.estimator import adapt

    return replace(adapt(model, file, options, format_name="callable"), sha256=digest)


def _predictor(
    function: Any, file: ModelFile, options: LoadOptions, digest: str | None
) -> Predictor:
    task = options.task or _TASKS.get(str(getattr(function, "task", "")), "classification")
    columns = _strings(function, "feature_names")
    names = columns if options.kind == "tabular" else ()

    prepare = _preparation(names, options)

    def raw_fn(batch: Any) -> Any:
        return function(prepare(batch))

    return Predictor(
        predict_fn=checked(raw_fn, task, options),
        task=task,
        class_names=_strings(function, "class_names") if task == "classification" else (),
        path=file.name,
        sha256=digest,
        format="callable",
        estimator=str(getattr(function, "__name__", type(function).__name__)),
        feature_names=names or None,
        n_features=len(names) or None,
        input_shape=(None, None, 3) if options.kind == "image" else None,
        output=options.output,
        preprocess=options.preprocess,
    )


def _preparation(names: tuple[str, ...], options: LoadOptions) -> Callable[[Any], Any]:
    if names:
        columns = list(names)
        return lambda frame: frame[columns]
    if options.kind == "image" and options.preprocess:
        from limecli.models.pictures import preprocessor

        scale = preprocessor(options.preprocess)
        return lambda pictures: scale(pictures.astype("float32"))
    return lambda batch: batch


def _strings(function: Any, attribute: str) -> tuple[str, ...]:
    value = getattr(function, attribute, None)
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()
