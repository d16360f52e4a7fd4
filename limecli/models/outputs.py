"""Checks what a model returns and brings it into one shape: float[n, n_outputs]."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from limecli.errors import InputError, LimecliError, PredictError, UsageError
from limecli.models.interface import LoadOptions
from limecli.types import PredictFn, Predictor, Task

if TYPE_CHECKING:
    from limecli.types import FloatArray, IntArray

SUM_TOLERANCE = 1e-2  # quantised and half-precision softmax outputs are off by as much


def checked(
    raw_fn: Callable[[Any], Any],
    task: Task,
    options: LoadOptions,
    independent: bool = False,
    margin: bool = False,
) -> PredictFn:
    """Wrap a model's own function so that it answers `float[n, n_outputs]` or raises PredictError.

    One-column classifiers become two columns, logits go through `options.activation`, and whatever
    the model prints goes to stderr. `independent` says that the model's outputs are sigmoids, which
    need not add up to 1, `margin` that `raw_fn` gives a margin where the options ask for one; any
    other function is refused then.
    """
    if options.output == "margin" and not margin:
        raise no_margin("the model", task)
    options = replace(options, independent=options.independent or independent)

    def predict_fn(batch: Any) -> FloatArray:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                raw = raw_fn(batch)
        except LimecliError:
            raise
        except Exception as error:
            raise _raised(error) from error
        return _checked_outputs(raw, len(batch), task, options)

    return predict_fn


def no_margin(
    what: str, task: Task, hint: str = "--output probability explains its probabilities"
) -> LimecliError:
    """Why there is no raw additive score; a regression without a link has just its one output."""
    if task == "regression":
        return UsageError(
            "--output margin is for classes, but the model is a regression with one output",
            "leave out --output margin",
        )
    return PredictError(
        f"{what} has no margin: boosting and linear classifiers have one, in pickles, skops files"
        " and the boosting libraries' own files",
        hint,
    )


def _raised(error: Exception) -> PredictError:
    text = " ".join(str(error).split())
    hint = ""
    if "unknown categor" in text.lower():
        hint = "if a number column is really a category, name it with --categorical COLUMN"
    elif "nan" in text.lower().split() or "NaN" in text:
        hint = (
            "the model takes no missing values, or makes one of an unusual value: put an imputer"
            " into the model, or look at the row"
        )
    return PredictError(f"the model raised {type(error).__name__}: {text[:300]}", hint)


def _checked_outputs(raw: Any, n: int, task: Task, options: LoadOptions) -> FloatArray:
    import numpy as np

    try:
        values = np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError):
        raise PredictError(
            f"the model returned {type(raw).__name__} values that are not numbers"
        ) from None
    if values.ndim > 2 and values.shape[0] == n:
        # Image networks without global pooling answer (n, 1, 1, k).
        values = values.reshape(n, -1) if values.size == n * values.shape[-1] else values
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[0] != n or values.shape[1] == 0:
        raise PredictError(
            f"the model returned an array of shape {values.shape} for {n} inputs;"
            " one row of numbers for each is needed"
        )
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise PredictError(
            f"the model returned NaN or infinity for {int(bad.sum())} of {n} inputs",
            "LIME cannot fit such outputs; look at how the model treats unusual inputs",
        )
    if task == "regression":
        if values.shape[1] != 1:
            raise PredictError(
                f"the model returns {values.shape[1]} numbers an input; a regression has one",
                "explain a model of one target; if these are classes: --task classification",
            )
        return values
    return _class_scores(values, options)


def _class_scores(values: FloatArray, options: LoadOptions) -> FloatArray:
    import numpy as np

    if options.output != "probability":
        return np.hstack([-values, values]) if values.shape[1] == 1 else values
    if options.activation == "sigmoid":
        values = 0.5 * (1.0 + np.tanh(0.5 * values))  # never overflows
    elif options.activation == "softmax":
        shifted = np.exp(values - values.max(axis=1, keepdims=True))
        values = shifted / shifted.sum(axis=1, keepdims=True)
    low, high = values.min(), values.max()
    if low < -SUM_TOLERANCE or high > 1 + SUM_TOLERANCE:
        name = "sigmoid" if values.shape[1] == 1 else "softmax"
        raise PredictError(
            f"the model returns numbers from {low:.3g} to {high:.3g}, which are no probabilities",
            f"if they are logits: --activation {name}; if it is a regression: --task regression",
        )
    if values.shape[1] == 1:
        return np.hstack([1.0 - values, values])
    sums = values.sum(axis=1)
    worst = sums[np.abs(sums - 1.0).argmax()]
    alone = options.independent or options.activation == "sigmoid"
    if not alone and abs(worst - 1.0) > SUM_TOLERANCE:
        raise PredictError(
            f"the model's class probabilities add up to {worst:.3g}, not 1",
            "if they are logits: --activation softmax; if several labels can hold at once:"
            " --activation none",
        )
    return values


def in_fixed_batches(run: Callable[[IntArray], Any], n: int, size: int) -> Any:
    """Call `run(indices)` on 0..n-1 with exactly `size` indices at a time, the last ones repeated.

    For models that take one batch size only, and for back ends that compile anew for each one.
    """
    import numpy as np

    parts = []
    for start in range(0, n, size):
        indices = np.minimum(np.arange(start, start + size), n - 1)
        parts.append(np.asarray(run(indices))[: n - start])
    return np.concatenate(parts)


def with_class_names(predictor: Predictor, n_outputs: int, options: LoadOptions) -> Predictor:
    """Give every output a name: the user's, else the model's, else its index.

    Raises InputError when the names do not fit the number of outputs.
    """
    if predictor.task == "regression":
        return replace(predictor, class_names=(options.target or "value",))
    names = options.class_names or predictor.class_names
    if not names:
        names = tuple(str(i) for i in range(n_outputs))
    if len(names) != n_outputs:
        where = "--class-names gives" if options.class_names else "the model file names"
        raise InputError(
            f"{where} {len(names)} classes, but {predictor.path} returns {n_outputs} outputs",
            "give one name for each output, in the order of the outputs",
        )
    return replace(predictor, class_names=names)
