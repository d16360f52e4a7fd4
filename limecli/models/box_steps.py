"""Which preparing steps work on every column alone, so that boxes stay boxes behind them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from limecli.errors import NotExactError

_SCALERS = {"StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "QuantileTransformer"}
_ENCODERS = {"OneHotEncoder", "OrdinalEncoder", "TargetEncoder", "Binarizer"}
_SELECTORS = {"VarianceThreshold", "SelectKBest", "SelectPercentile", "SelectFpr", "SelectFdr",
              "SelectFwe", "GenericUnivariateSelect", "SelectFromModel", "RFE", "RFECV",
              "SequentialFeatureSelector"}  # fmt: skip
_FOREIGN = {"OneHotEncoder", "OrdinalEncoder", "TargetEncoder", "CountEncoder", "BinaryEncoder",
            "LeaveOneOutEncoder", "CatBoostEncoder", "JamesSteinEncoder", "MEstimateEncoder",
            "WOEEncoder", "GLMMEncoder", "BaseNEncoder", "SumEncoder"}  # fmt: skip
"""Of category_encoders."""
_PLAIN = _SCALERS | _ENCODERS | _SELECTORS
_MIXING = {"PCA", "Normalizer", "PolynomialFeatures", "KNNImputer", "IterativeImputer",
           "TruncatedSVD", "KernelPCA", "FastICA", "NMF"}  # fmt: skip
_RISING = {"log", "log1p", "log2", "log10", "sqrt", "cbrt", "arctan", "tanh", "arcsinh", "negative",
           "positive"}  # fmt: skip


def check_step(step: Any) -> None:
    """Raises NotExactError for a step that is not known to map each column alone, one way."""
    for part in _parts(step):
        name = type(part).__name__
        module = type(part).__module__
        if module.startswith("category_encoders.") and name in _FOREIGN:
            continue
        if not module.startswith("sklearn."):
            raise NotExactError(f"the model holds a {name} step, which may do anything")
        if name in _MIXING:
            raise NotExactError(f"the model holds a {name} step, which mixes columns")
        if name in ("SimpleImputer", "MissingIndicator"):
            _check_marker(part, name)
        elif name == "PowerTransformer":
            if part.method != "yeo-johnson":
                raise NotExactError("the model's box-cox transformation takes no negative numbers")
        elif name == "KBinsDiscretizer":
            if part.encode != "ordinal":
                raise NotExactError("the model one-hot encodes bins of numbers")
        elif name == "FunctionTransformer":
            _check_function(part)
        elif name not in _PLAIN:
            raise NotExactError(f"the model holds a {name} step, which is not known to be"
                                " column-wise")  # fmt: skip


def numbers_known(step: Any) -> list[float]:
    """Some of the numbers that encoders inside take for categories, from each column a few."""
    import numpy as np

    found: list[float] = []
    for part in _parts(step):
        for known in getattr(part, "categories_", ()):
            if np.asarray(known).dtype.kind in "biuf":
                values = np.asarray(known, dtype=float)
                found += values[np.isfinite(values)][:8].tolist()
    return found


def _parts(step: Any) -> Iterator[Any]:
    """The steps inside a step that are no mere containers. Samplers do nothing to new rows."""
    name = type(step).__name__
    if step is None or isinstance(step, str) or is_sampler(step):
        return  # passthrough, drop
    if name == "Pipeline":
        inside = [part for _, part in step.steps]
    elif name == "ColumnTransformer":
        inside = [part for _, part, _ in step.transformers_]
    elif name == "FeatureUnion":
        inside = [part for _, part in step.transformer_list]
    else:
        yield step
        return
    for part in inside:
        yield from _parts(part)


def is_sampler(step: Any) -> bool:
    """Whether a step only draws rows at fit, as those of imbalanced-learn do."""
    return hasattr(step, "fit_resample") and not hasattr(step, "transform")


def _check_marker(part: Any, name: str) -> None:
    marker = part.missing_values
    if isinstance(marker, int | float) and marker == marker:  # noqa: PLR0124 - NaN is not
        raise NotExactError(f"the model's {name} takes {marker:g} for a missing value")


def _check_function(part: Any) -> None:
    import numpy as np

    func = part.func
    name = getattr(func, "__name__", type(func).__name__)
    if func is not None and (not isinstance(func, np.ufunc) or name not in _RISING):
        raise NotExactError(f"the model holds a FunctionTransformer of {name}, which may do"
                            " anything")  # fmt: skip
    if part.kw_args:
        raise NotExactError(f"the model holds a FunctionTransformer of {name} with options")
