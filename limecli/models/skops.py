"""skops files: scikit-learn models without a pickle, behind the same table of trusted names."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from dataclasses import replace
from typing import Any

from limecli.errors import LimecliError, ModelError
from limecli.models.anatomy import describe
from limecli.models.guard_calls import UnknownUse
from limecli.models.guard_native import check_all
from limecli.models.inert import Contents, Inert, Name
from limecli.models.info import ModelInfo
from limecli.models.interface import LoadOptions, ModelFile
from limecli.models.skops_nodes import State, scalar
from limecli.models.skops_schema import SCHEMA, SchemaCheck, damaged
from limecli.models.trust import install_line, refusal, without_main
from limecli.models.versions import mismatch, other_versions, skew_notes, with_hint
from limecli.types import Predictor

_SHOWN = 1 << 20  # bytes of an array that inspect reads


class SkopsLoader:
    """Judges every name itself, then lets skops build what is trusted."""

    requires = ("skops", "sklearn")

    def matches(self, file: ModelFile) -> bool:
        """A zip with a schema."""
        return SCHEMA in file.zip_names

    def load(self, file: ModelFile, options: LoadOptions) -> Predictor:
        """Check, build and adapt. Raises ModelError for what is refused, damaged or no model."""
        from limecli.models.estimator import adapt

        if (options.trust or options.trust_pickle) and "" not in sys.path:
            sys.path.append("")  # a trusted module of the user's own lies beside the work
        check = SchemaCheck(file, without_main(options.trust))
        if not options.trust_pickle:
            _refuse(file, check)
        others = other_versions(check.versions)
        others.pop("skops", None)  # it reads its own older files
        try:
            predictor = adapt(_built(file, check), file, options, format_name="skops")
        except LimecliError:
            raise
        except MemoryError:
            raise ModelError(f"{file.name} asks for more memory than there is") from None
        except Exception as error:  # other versions of a library miss anything
            raise _mismatch(file, error, others) from error
        notes = skew_notes(others)
        if options.trust_pickle:
            notes = (*notes, f"--trust-pickle: any code in {file.name} has run")
        return with_hint(replace(predictor, notes=(*notes, *predictor.notes)), others)

    def inspect(self, file: ModelFile, options: LoadOptions) -> ModelInfo:
        """What the schema says, nothing of it built."""
        check = SchemaCheck(file, without_main(options.trust), builds=False)
        contents = Contents(
            root=_inert(check, check.schema),
            wants=check.wants,
            refusals=[f"it wants {what}: refused" for what in check.refusals],
            versions=check.versions,
        )
        return describe(contents, "skops")


def _refuse(file: ModelFile, check: SchemaCheck) -> None:
    if check.untrusted:
        raise refusal(file.name, check.untrusted)
    if check.refusals:
        raise ModelError(f"{file.name} wants {check.refusals[0]}: refused")


def _built(file: ModelFile, check: SchemaCheck) -> Any:
    import skops.io

    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")  # one for each tree of another version
        try:
            model = skops.io.load(io.BytesIO(check.archive()), trusted=list(check.wants))
            check_all(model)
            return model
        except UnknownUse as error:
            raise ModelError(f"{file.name} wants {error}: refused") from None
        except (ImportError, AttributeError, ValueError, TypeError, KeyError, MemoryError):
            raise  # what other versions of the libraries cause
        except Exception as error:  # arrays and archives that are damaged
            raise damaged(file, error) from error


def _mismatch(file: ModelFile, error: Exception, others: dict[str, str]) -> ModelError:
    if isinstance(error, ModuleNotFoundError) and error.name:
        library = error.name.partition(".")[0]
        return ModelError(
            f"{file.name} needs {library}, which is not installed", install_line(library)
        )
    return mismatch(file.name, str(error).strip() or type(error).__name__, others)


def _inert(check: SchemaCheck, state: State) -> Any:
    """A node as what `anatomy` reads: plain values, names, and objects as names with contents."""
    loader = state["__loader__"]
    name = Name(str(state["__module__"]), str(state["__class__"]))
    content = state.get("content")
    if loader == "JsonNode":
        return scalar(state) if not isinstance(content, dict | list) else None
    if loader == "DictNode" and isinstance(content, dict):
        return {key: _inert(check, value) for key, value in content.items()}
    if loader in ("ListNode", "SetNode") and isinstance(content, list):
        return [_inert(check, item) for item in content]
    if loader == "TupleNode" and isinstance(content, list):
        return tuple(_inert(check, item) for item in content)
    if loader == "NdArrayNode":
        return _array(check, state)
    if loader in ("FunctionNode", "TypeNode"):
        return name
    made = Inert(name)
    if loader in ("ObjectNode", "TreeNode", "LossNode") and isinstance(content, dict):
        made.state = _inert(check, content)
    return made


def _array(check: SchemaCheck, state: State) -> Any:
    import numpy as np

    if state["type"] == "json":
        items = [_inert(check, item) for item in state["content"]]
        array = np.empty(len(items), dtype=object)
        array[:] = items
        return array
    data = check.member(state["file"])
    if len(data) > _SHOWN:
        return None
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)[()]
    except (ValueError, EOFError, OSError):  # damaged, or no array: load says so
        return None
