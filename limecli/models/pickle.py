"""Pickle and joblib files: scikit-learn models and whatever behaves like one."""

from __future__ import annotations

import contextlib
import pickletools
import sys
import warnings
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from limecli.errors import LimecliError, ModelError
from limecli.models.compression import COMPRESSIONS
from limecli.models.guard import (
    UntrustedNameError,
    guarded_load,
    unguarded_load,
)
from limecli.models.interface import LoadOptions, ModelFile
from limecli.models.skew import MismatchError, plain_version
from limecli.types import ModelInfo, Predictor

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
        with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("always")
            model = _unpickled(file, options)
        skew = _skew(caught)
        try:
            lost = _lost_method(model) if skew else ""
            if lost:
                raise AttributeError(lost)
            predictor = adapt(model, file, options, format_name="pickle")
        except LimecliError:
            raise
        except Exception as error:  # attributes that another version's methods expect
            what = f"{type(error).__name__}: {error}"
            raise _mismatch(file, options.trust, what) from error
        notes = (
            [f"saved with {skew}: predictions may differ from those at the time"] if skew else []
        )
        if options.trust_pickle:
            notes.append(f"--trust-pickle: any code in {file.name} has run")
        predictor = replace(predictor, notes=(*notes, *predictor.notes))
        return _hinting(predictor, skew) if skew else predictor

    def inspect(self, file: ModelFile, options: LoadOptions) -> ModelInfo:
        """What the pickle holds and wants, read without running it."""
        from limecli.models.anatomy import describe_pickle

        return describe_pickle(file, options.trust)


def _unpickled(file: ModelFile, options: LoadOptions) -> Any:
    if options.trust_pickle:
        return unguarded_load(file)
    try:
        return guarded_load(file, options.trust)
    except UntrustedNameError as error:
        from limecli.models.inert import all_untrusted

        told = _of_another_version(file, options.trust, error)
        raise (told or all_untrusted(file, options.trust, error)) from None
    except MismatchError as error:
        raise _mismatch(file, options.trust, error.message) from error


def _mismatch(file: ModelFile, trust: frozenset[str], what: str) -> ModelError:
    """The failure of loading, with the versions that explain it where the file tells them."""
    what = what if file.name in what else f"{file.name} cannot be used: {' '.join(what.split())}"
    for library, saved in _other_versions(file, trust).items():
        return ModelError(
            f"{what[:300]} (saved with {library} {saved}, installed is {_installed(library)})",
            _install_hint(library, saved),
        )
    return ModelError(what[:400], "install the library versions that the model was saved with")


def _of_another_version(
    file: ModelFile, trust: frozenset[str], error: UntrustedNameError
) -> ModelError | None:
    """The refusal of a part of scikit-learn that the table lacks, where the version explains it."""
    from limecli.models.inert import read_inert

    saved = _other_versions(file, trust).get("scikit-learn")
    untrusted = [error.name, *read_inert(file, trust).untrusted]
    if saved is None or not all(name.startswith("sklearn.") for name in untrusted):
        return None
    return ModelError(
        f"{file.name} wants {error.name}, which limecli does not know (saved with scikit-learn"
        f" {saved}, installed is {_installed('scikit-learn')}): refused",
        _install_hint("scikit-learn", saved),
    )


def _other_versions(file: ModelFile, trust: frozenset[str]) -> dict[str, str]:
    """The versions that a file says it was saved with, where they are not the installed ones."""
    from limecli.models.inert import read_inert

    found = read_inert(file, trust).versions.items()
    return {
        library: saved
        for library, saved in found
        if plain_version(saved) and saved != _installed(library)
    }


def _install_hint(library: str, saved: str) -> str:
    return f"install the version that it was saved with: pip install '{library}=={saved}'"


def _lost_method(model: Any) -> str:
    """Why a model has no `predict` although its class has one: an attribute that was renamed."""
    try:
        model.predict  # noqa: B018 - scikit-learn looks at other attributes here
    except AttributeError as error:
        cause = str(error.__cause__ or error.__context__ or "")
        renamed = "has no attribute" in cause or "are present in the class" in cause
        return cause if hasattr(type(model), "predict") and renamed else ""
    return ""


def _skew(caught: list[warnings.WarningMessage]) -> str:
    """One line in place of one warning per tree; "" when the versions are the same."""
    for warning in caught:
        saved = plain_version(getattr(warning.message, "original_sklearn_version", None))
        if saved:
            return f"scikit-learn {saved}, loaded with {_installed('scikit-learn')}"
    return ""


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "another"


def _hinting(predictor: Predictor, skew: str) -> Predictor:
    """A predictor whose failures mention that the versions differ."""
    library, saved = skew.partition(",")[0].split()

    def predict_fn(batch: Any) -> Any:
        try:
            return predictor.predict_fn(batch)
        except LimecliError as error:
            # What the user's values cause has a hint of its own; what the model raised may not.
            inner = isinstance(error.__cause__, AttributeError | TypeError | KeyError | ImportError)
            if inner or (error.__cause__ is not None and not error.hint):
                error.message += f" (saved with {skew})"
                error.hint = _install_hint(library, saved)
            raise

    return replace(predictor, predict_fn=predict_fn)


def _is_protocol_0(file: ModelFile) -> bool:
    if file.head[:1] not in tuple(bytes([byte]) for byte in b"(c]}lidNIFSVLg"):
        return False
    try:
        return sum(1 for _ in pickletools.genops(file.data)) > 1
    except Exception:  # genops raises many kinds for bytes that are not opcodes
        return False
