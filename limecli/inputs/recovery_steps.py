"""The transformers of a Pipeline: what each remembers, and where its outputs come from.

They are recognised by the attributes that fitting gave them, so that no library is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from limecli.inputs.evidence import Evidence, Link, Links, opaque

if TYPE_CHECKING:
    from limecli.types import FloatArray

_COLUMNWISE = {"StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler",
               "QuantileTransformer", "PowerTransformer"}  # fmt: skip
_INVERSES = {"log1p": "expm1", "expm1": "log1p", "log": "exp", "exp": "log", "log2": "exp2",
             "sqrt": "square"}  # fmt: skip
_POSITIVE = {"sqrt"}  # never give less than 0, though their inverse takes it
_IQR = 1.3489795  # interquartile range of a normal distribution with deviation 1
_LIBRARIES = {"sklearn", "imblearn", "category_encoders", "numpy", "scipy", "pandas", "builtins",
              "functools", "limecli"}  # fmt: skip
_MANY = 2000  # features whose covariances are too many to look at


def transform(evidence: Evidence, step: Any, links: Links, name: str) -> Links:
    """Note what a transformer knows of its inputs; the links of its outputs.

    Raises LookupError when it cannot be told how many outputs there are.
    """
    source = f"{type(step).__name__} in step {name!r}"
    if step is None or step == "passthrough" or not hasattr(step, "transform"):
        return links  # samplers, too: they leave the columns as they are
    passed = _tried(evidence, step, links) if _is_own(step) else None
    if passed is not None:
        return passed
    for recognised, handle in _KINDS:
        if recognised(step):
            return handle(evidence, step, links, source)
    if hasattr(step, "get_covariance") and hasattr(step, "mean_"):
        _covariance(evidence, step, links, source)
    return _mixed(step, links)


def _is_own(step: Any) -> bool:
    """Whether a step, or the function in it, is of the user's own."""
    part = getattr(step, "func", None) or type(step)
    home = getattr(part, "__module__", None) or type(part).__module__
    return home.partition(".")[0] not in _LIBRARIES


def _tried(evidence: Evidence, step: Any, links: Links) -> Links | None:
    """What a step of the user's own passes on of the table, by trying it; None if that fails.

    Column selectors are the usual case. An output that equals an input stands for it.
    """
    import numpy as np
    import pandas as pd

    if len(links) != len(evidence.names) or not all(link.untouched for link in links):
        return None
    tried = np.arange(3.0 * len(links)).reshape(3, -1)
    try:
        found = np.asarray(step.transform(pd.DataFrame(tried, columns=evidence.names)), dtype=float)
        same = (found[:, :, None] == tried[:, None, :]).all(axis=0)
    except Exception:  # it may need text, other rows, anything
        return None
    return [links[int(row.argmax())] if row.any() else opaque(links) for row in same]


def _mixed(step: Any, links: Links) -> Links:
    """As many outputs as there are, each made out of all inputs."""
    try:
        count = len(step.get_feature_names_out())
    except Exception:  # what a transformer makes need not have names
        raise LookupError(type(step).__name__) from None
    return [opaque(links)] * count


def _pipeline(evidence: Evidence, step: Any, links: Links, source: str) -> Links:
    for name, part in step.steps:
        links = transform(evidence, part, links, name)
    return links


def _side_by_side(evidence: Evidence, step: Any, links: Links, source: str) -> Links:
    """ColumnTransformer."""
    names = [str(item) for item in getattr(step, "feature_names_in_", ())]
    slices = step.output_indices_
    found = [opaque(links)] * max((part.stop or 0 for part in slices.values()), default=0)
    for name, part, columns in step.transformers_:
        where = slices.get(name)
        if part == "drop" or where is None:
            continue
        inputs = [links[i] for i in _positions(columns, names, len(links))]
        count = where.stop - where.start
        found[where] = [opaque(inputs)] * count
        with suppress(LookupError):
            outputs = transform(evidence, part, inputs, name)
            if len(outputs) == count:
                found[where] = outputs
    return found


def _union(evidence: Evidence, step: Any, links: Links, source: str) -> Links:
    found: list[Link] = []
    for name, part in step.transformer_list:
        if part != "drop":
            found += transform(evidence, part, links, name)
    return found


def _positions(columns: Any, names: list[str], n: int) -> list[int]:
    """Column numbers out of any way in which a ColumnTransformer names columns."""
    import numpy as np

    if isinstance(columns, slice):
        ends = [names.index(end) if isinstance(end, str) else end
                for end in (columns.start, columns.stop)]  # fmt: skip
        ends[1] = ends[1] + 1 if isinstance(columns.stop, str) else ends[1]  # names: both included
        return list(range(n))[slice(ends[0], ends[1], columns.step)]
    chosen = [columns] if isinstance(columns, str | int) else list(columns)
    if chosen and all(isinstance(item, bool | np.bool_) for item in chosen):
        return [i for i, kept in enumerate(chosen) if kept]
    return [names.index(item) if isinstance(item, str) else int(item) % n for item in chosen]


def _scaler(evidence: Evidence, step: Any, links: Links, source: str) -> Links:
    """What treats every column for itself and can be undone."""
    import numpy as np

    seen = getattr(step, "n_samples_seen_", None)
    if seen is not None:
        evidence.count(float(np.max(seen)))
    found = [_undone(step, links, j) for j in range(len(links))]
    for j, link in enumerate(links):
        _mean(evidence, step, link, j, source)
        if hasattr(step, "quantiles_"):
            evidence.say(link, "quantiles", source, link.back(step.quantiles_[:, j]))
        elif hasattr(step, "data_min_"):
            evidence.limits(link, source, step.data_min_[j], step.data_max_[j])
        elif hasattr(step, "max_abs_"):
            evidence.limits(link, source, -step.max_abs_[j], step.max_abs_[j])
        elif getattr(step, "center_", None) is not None and step.scale_ is not None:
            evidence.normal(link, source, step.center_[j], step.scale_[j] / _IQR)
        elif hasattr(step, "lambdas_") and step.standardize:
            evidence.normal(found[j], source, 0.0, 1.0)
    return found


def _mean(evidence: Evidence, step: Any, link: Link, j: int, source: str) -> None:
    mean, variance = getattr(step, "mean_", None), getattr(step, "var_", None)
    spread = evidence.spread(link)
    if mean is None or variance is None or spread is None:
        return
    if link.indicator is not None:
        spread.known_shares.setdefault(link.indicator, float(mean[j]))
    elif spread.normal is None:
        spread.exact = link.untouched
        evidence.normal(link, source, mean[j], variance[j] ** 0.5)


def _undone(step: Any, links: Links, j: int) -> Link:
    """The link of output j of a transformer that treats every column for itself."""
    import numpy as np

    def undo(values: FloatArray) -> Any:
        table = np.zeros((len(values), len(links)))
        table[:, j] = values
        return step.inverse_transform(table)[:, j] if len(table) else values

    return links[j].then(_where_finite(undo))


def _where_finite(undo: Callable[[FloatArray], Any]) -> Callable[[Any], Any]:
    """Undo a rising function, open ends left open."""
    import numpy as np

    def run(values: Any) -> Any:
        found = np.array(values, dtype=float)
        finite = np.isfinite(found)
        with np.errstate(all="ignore"):  # what it never gives has no way back: NaN
            found[finite] = undo(found[finite])
        return found

    return run


def _encoder(evidence: Evidence, step: Any, links: Links, source: str) -> Links:
    """One-hot, ordinal and target encoders of scikit-learn."""
    for link, found in zip(links, step.categories_, strict=True):
        evidence.categories(link, found, source)
    kind = type(step).__name__
    if kind == "OneHotEncoder":
        return list(_one_hot(step, links))
    if kind == "OrdinalEncoder":
        return [replace(link, coded=True) for link in links]
    return [opaque([link]) for link in links] if kind != "TargetEncoder" else _mixed(step, links)


def _one_hot(step: Any, links: Links) -> Iterator[Link]:
    dropped = getattr(step, "drop_idx_", None)
    rare_ones = getattr(step, "infrequent_categories_", None) if step._infrequent_enabled else None
    for j, (link, categories) in enumerate(zip(links, step.categories_, strict=True)):
        rare = set() if rare_ones is None or rare_ones[j] is None else set(rare_ones[j])
        codes: list[int | None] = [i for i, item in enumerate(categories) if item not in rare]
        if rare:
            codes.append(None)
        if dropped is not None and dropped[j] is not None:
            codes.pop(int(dropped[j]))
        for code in codes:
            yield opaque([link]) if code is None else replace(link, indicator=code)


def _category_encoders(evidence: Evidence, step: Any, links: Links, source: str) -> Links:
    """Encoders of the package category_encoders, which take and give DataFrames."""
    names = [str(item) for item in getattr(step, "feature_names_in_", ())]
    by_name = dict(zip(names, links, strict=False))
    mapping = getattr(getattr(step, "ordinal_encoder", step), "mapping", None)
    for item in mapping if isinstance(mapping, list) else ():
        link, table = by_name.get(str(item.get("col"))), item.get("mapping")
        if link is not None and hasattr(table, "index"):
            evidence.categories(link, list(table.index), source)
    encoded = {str(name) for name in step.cols or ()}
    return [
        by_name[name] if name in by_name and name not in encoded else opaque(links)
        for name in map(str, step.feature_names_out_)
    ]


def _bins(evidence: Evidence, step: Any, links: Links, source: str) -> Links:
    """KBinsDiscretizer."""
    for link, edges in zip(links, step.bin_edges_, strict=True):
        if step.strategy == "quantile":
            evidence.say(link, "quantiles", source, link.back(edges))
        else:
            evidence.limits(link, source, edges[0], edges[-1])
    return _mixed(step, links)


def _imputer(evidence: Evidence, step: Any, links: Links, source: str) -> Links:
    import numpy as np

    kept: Links = links
    statistics = getattr(step, "statistics_", None)
    if statistics is not None and not getattr(step, "keep_empty_features", False):
        empty = [isinstance(value, float) and np.isnan(value) for value in statistics]
        kept = [link for link, gone in zip(links, empty, strict=True) if not gone]
    indicator = getattr(step, "indicator_", None)
    return [*kept, *([opaque(links)] * (len(indicator.features_) if indicator is not None else 0))]


def _function(evidence: Evidence, step: Any, links: Links, source: str) -> Links:
    import numpy as np

    name = getattr(getattr(step.func, "func", step.func), "__name__", "")
    if step.func is None or name == "check_array":  # HistGradientBoosting passes numbers on so
        return links
    inverse = getattr(np, _INVERSES.get(name, ""), None)
    if inverse is None:
        return _mixed(step, links)
    least = 0.0 if name in _POSITIVE else -np.inf
    undo = _where_finite(lambda values: inverse(np.maximum(values, least)))
    return [link.then(undo) for link in links]


def _selector(evidence: Evidence, step: Any, links: Links, source: str) -> Links:
    return [link for link, kept in zip(links, step.get_support(), strict=True) if kept]


def _covariance(evidence: Evidence, step: Any, links: Links, source: str) -> None:
    """PCA and factor analysis."""
    if len(links) > _MANY:
        return
    variances = step.get_covariance().diagonal()
    for j, link in enumerate(links):
        evidence.normal(link, source, step.mean_[j], max(float(variances[j]), 0.0) ** 0.5)


def _named(*names: str) -> Callable[[Any], bool]:
    return lambda step: type(step).__name__ in names


def _having(*attributes: str) -> Callable[[Any], bool]:
    return lambda step: all(hasattr(step, attribute) for attribute in attributes)


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Evidence, Any, Links, str], Links]], ...] = (
    (_having("steps"), _pipeline),
    (_having("transformers_", "output_indices_"), _side_by_side),
    (_having("transformer_list"), _union),
    (_named(*_COLUMNWISE), _scaler),
    (_having("cols", "feature_names_out_"), _category_encoders),
    (_having("categories_"), _encoder),
    (_having("bin_edges_", "strategy"), _bins),
    (_named("SimpleImputer", "IterativeImputer", "KNNImputer"), _imputer),
    (_named("FunctionTransformer"), _function),
    (_having("get_support"), _selector),
)
