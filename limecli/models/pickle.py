"""Pickle and joblib files: scikit-learn models and whatever behaves like one."""

from __future__ import annotations

import contextlib
import pickletools
import sys
import warnings
from dataclasses import replace
from typing import Any

from limecli.errors import LimecliError, ModelError
from limecli.models.compression import COMPRESSIONS
from limecli.models.guard import guarded_load, unguarded_load
from limecli.models.info import ModelInfo
from limecli.models.interface import LoadOptions, ModelFile
from limecli.models.skew import MismatchError
from limecli.models.trust import UntrustedNameError, without_main
from limecli.models.versions import mismatch, other_versions, skew_notes, with_hint
from limecli.types import Predictor

_TORCH_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # what torch.save wrote before it wrote zips


class PickleLoader:
    """Loads through the guard, then treats the object as a scikit-learn estimator."""

    requires = ("sklearn",)

    def matches(self, file: ModelFile) -> bool:
        """Protocol 2 and later have a magic byte, joblib may compress, older ones must parse."""
        head = file.head
        if head[:1] == b"\x80" and len(head) > 1 and head[1] <= 5:
            return not head[2:].startswith(_TORCH_MAGIC)
        return head.startswith(tuple(COMPRESSIONS)) or _is_protocol_0(file)

    def load(self, file: ModelFile, options: LoadOptions) -> Predictor:
        """Unpickle and adapt. Raises ModelError for what is refused, damaged or no model."""
        from limecli.models.estimator import adapt

        if (options.trust or options.trust_pickle) and "" not in sys.path:
            sys.path.append("")  # a trusted module of the user's own lies beside the work
        options = replace(options, trust=without_main(options.trust))
        with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("always")
            model = _unpickled(file, options)
        others = _other_versions_of(caught)
        try:
            lost = _lost_method(model) if others else ""
            if lost:
                raise AttributeError(lost)
            predictor = adapt(model, file, options, format_name="pickle")
        except LimecliError:
            raise
        except Exception as error:  # attributes that another version's methods expect
            what = f"{type(error).__name__}: {error}"
            raise mismatch(file.name, what, _told(file, options.trust)) from error
        notes = skew_notes(others)
        if options.trust_pickle:
            notes = (*notes, f"--trust-pickle: any code in {file.name} has run")
        return with_hint(replace(predictor, notes=(*notes, *predictor.notes)), others)

    def inspect(self, file: ModelFile, options: LoadOptions) -> ModelInfo:
        """What the pickle holds and wants, read without running it."""
        from limecli.models.anatomy import describe_pickle

        return describe_pickle(file, without_main(options.trust))


def _unpickled(file: ModelFile, options: LoadOptions) -> Any:
    if options.trust_pickle:
        return unguarded_load(file, options.trust)
    try:
        return guarded_load(file, options.trust)
    except UntrustedNameError as error:
        from limecli.models.inert import all_untrusted

        told = _of_another_version(file, options.trust, error)
        raise (told or all_untrusted(file, options.trust, error)) from None
    except MismatchError as error:
        raise mismatch(file.name, error.message, _told(file, options.trust)) from error


def _told(file: ModelFile, trust: frozenset[str]) -> dict[str, str]:
    """The versions that a file says it was saved with, where they are not the installed ones."""
    from limecli.models.inert import read_inert

    return other_versions(read_inert(file, trust).versions)


def _of_another_version(
    file: ModelFile, trust: frozenset[str], error: UntrustedNameError
) -> ModelError | None:
    """The refusal of a part of scikit-learn that the table lacks, where the version explains it."""
    from limecli.models.inert import read_inert

    contents = read_inert(file, trust)
    others = other_versions(contents.versions)
    names = [error.name, *contents.untrusted]
    if "scikit-learn" not in others or not all(name.startswith("sklearn.") for name in names):
        return None
    what = f"{file.name} wants {error.name}, which limecli does not know"
    return mismatch(file.name, what, others, ": refused")


def _lost_method(model: Any) -> str:
    """Why a model has no `predict` although its class has one: an attribute that was renamed."""
    try:
        model.predict  # noqa: B018 - scikit-learn looks at other attributes here
    except AttributeError as error:
        cause = str(error.__cause__ or error.__context__ or "")
        renamed = "has no attribute" in cause or "are present in the class" in cause
        return cause if hasattr(type(model), "predict") and renamed else ""
    return ""


def _other_versions_of(caught: list[warnings.WarningMessage]) -> dict[str, str]:
    """The version behind scikit-learn's warnings, of which there is one for each tree."""
    saved = (getattr(item.message, "original_sklearn_version", None) for item in caught)
    return other_versions({"scikit-learn": next((text for text in saved if text), "")})


def _is_protocol_0(file: ModelFile) -> bool:
    if file.head[:1] not in tuple(bytes([byte]) for byte in b"(c]}lidNIFSVLg"):
        return False
    try:
        return sum(1 for _ in pickletools.genops(file.data)) > 1
    except Exception:  # genops raises many kinds for bytes that are not opcodes
        return False
