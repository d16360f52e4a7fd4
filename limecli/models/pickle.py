"""Pickle and joblib files: scikit-learn models and whatever behaves like one."""

from __future__ import annotations

import contextlib
import pickletools
import sys
import warnings
from dataclasses import replace

from limecli.models.guard import COMPRESSIONS, guarded_load
from limecli.models.interface import LoadOptions, ModelFile
from limecli.types import Predictor


class PickleLoader:
    """Loads through the guard, then treats the object as a scikit-learn estimator."""

    requires = ("sklearn",)

    def matches(self, file: ModelFile) -> bool:
        """Protocol 2 and later have a magic byte, joblib may compress, older ones must parse."""
        data = file.data
        if data[0] == 0x80 and len(data) > 1 and data[1] <= 5:
            return True
        return data.startswith(tuple(COMPRESSIONS)) or _is_protocol_0(data)

    def load(self, file: ModelFile, options: LoadOptions) -> Predictor:
        """Unpickle and adapt. Raises ModelError for what is refused, damaged or no model."""
        from limecli.models.estimator import adapt

        if options.trust and "" not in sys.path:
            sys.path.append("")  # a trusted module of the user's own lies beside the work
        with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("always")
            model = guarded_load(file.data, file.path, options.trust)
        predictor = adapt(model, file, options, format_name="pickle")
        return replace(predictor, notes=(*_version_notes(caught), *predictor.notes))


def _is_protocol_0(data: bytes) -> bool:
    if data[:1] not in b"(c]}lidNIFSVLg":
        return False
    try:
        return sum(1 for _ in pickletools.genops(data)) > 1
    except Exception:  # genops raises many kinds for bytes that are not opcodes
        return False


def _version_notes(caught: list[warnings.WarningMessage]) -> tuple[str, ...]:
    """One line in place of one warning per tree."""
    for warning in caught:
        message = warning.message
        saved = getattr(message, "original_sklearn_version", None)
        if saved:
            current = getattr(message, "current_sklearn_version", "another")
            return (
                f"saved with scikit-learn {saved}, loaded with {current}:"
                " predictions may differ from those at the time",
            )
    return ()
