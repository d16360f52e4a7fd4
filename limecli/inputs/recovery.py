"""A fitted model -> Background: what its own parts remember of the data that they were fitted on.

Scalers know means and ranges, encoders categories, trees where rows fell between their splits,
neighbours the rows themselves. `recovery_models.py` and `recovery_steps.py` find it, `evidence.py`
collects it, `spread.py` sums it up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from limecli.errors import InputError, UsageError
from limecli.inputs.background import continuous_column
from limecli.inputs.evidence import Evidence, Link
from limecli.inputs.recovery_models import read_model
from limecli.inputs.row_encoder import to_number
from limecli.inputs.spread import Spread
from limecli.types import Background, Category, Column, Value

if TYPE_CHECKING:
    from limecli.types import FloatArray

_FEW = 2  # distinct splits of a column below which its spread is little more than a guess


def recover_background(
    model: Any,
    feature_names: Sequence[str],
    discretizer: str,
    rows: Mapping[str, Sequence[Value]] | None = None,
    categories: Mapping[str, tuple[Category, ...]] | None = None,
) -> tuple[Background, list[str]]:
    """The background that a fitted model lets on, and what to say about it.

    `rows` are the values to explain, by column: they stand in for columns that the model never
    looks at. `categories` are those that the model itself knows, by column, in the order of their
    codes. Raises InputError with the reason when the model does not tell enough, UsageError for
    an entropy discretizer, which needs labels.
    """
    if discretizer == "entropy":
        raise UsageError(
            "--discretizer entropy needs labels, which no model remembers",
            "give the training data with --background and --target",
        )
    evidence = Evidence(feature_names)
    links = [Link(frozenset({j})) for j in range(len(feature_names))]
    own = f"categories of {type(getattr(model, 'best_estimator_', model)).__name__}"
    try:
        for name, known in (categories or {}).items():
            evidence.categories(links[feature_names.index(name)], known, own)
        read_model(evidence, model, links)
    except Exception as error:  # parts that only look like those that are known
        raise InputError(
            "what the model remembers of its data cannot be read"
            f" ({type(error).__name__}: {' '.join(str(error).split())[:120]})",
            "give --background TRAIN.csv",
        ) from error
    columns: list[Column] = []
    notes: list[str] = []
    unused, thin, silent = [], [], []
    for j, (name, spread) in enumerate(zip(feature_names, evidence.spreads, strict=True)):
        if spread.kind() is None and j in evidence.touched:
            silent.append(name)
            continue
        if spread.kind() is None:
            unused.append(name)
            columns.append(_unused(name, (rows or {}).get(name, ()), discretizer))
            continue
        if spread.categories is None and _are_truths((rows or {}).get(name, ())):
            spread.categories = (False, True)
        guessed = spread.kind() == "intervals" and not spread.intervals.two_valued()
        if guessed and spread.thresholds() < _FEW:
            thin.append(name)
        columns.append(_column(name, spread, discretizer))
    if silent or not any(spread.kind() for spread in evidence.spreads):
        names = _listed(silent or feature_names)
        raise InputError(
            f"the model does not tell how the values of {names} are spread",
            "give --background TRAIN.csv",
        )
    if thin:
        notes.append(
            f"the model's trees split so seldom on {_listed(thin)} that its spread is a guess"
        )
    if unused:
        notes.append(f"the model does not look at {_listed(unused)}")
    parts = dict.fromkeys(
        source for spread in evidence.spreads for source in _sources(spread) if source
    )
    background = Background(
        tuple(columns), discretizer, evidence.rows, "model", recovered_from=tuple(parts)
    )
    return background, notes


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _sources(spread: Spread) -> list[str]:
    kind = spread.kind()
    found = [spread.sources.get(kind or "", "")]
    if kind == "categories" and (spread.intervals.rows or spread.indicators):
        found.append(spread.sources.get("intervals", ""))
    if kind == "intervals":
        found.append(spread.sources.get("limits", ""))
    if kind != "normal" and spread.exact:
        found.append(spread.sources.get("normal", ""))
    return found


def _are_truths(values: Sequence[Value]) -> bool:
    """Whether a column holds True and False, which a model may take for 1 and 0."""
    present = [str(value).title() for value in values if value is not None]
    return bool(present) and set(present) <= {"True", "False"}


def _column(name: str, spread: Spread, discretizer: str) -> Column:
    if spread.categories is not None:
        order = sorted(
            range(len(spread.categories)),
            key=lambda i: (spread.categories[i] is None, str(spread.categories[i])),  # type: ignore[index]
        )
        shares = spread.shares()
        return Column(
            name,
            tuple(spread.categories[i] for i in order),
            tuple(float(code) for code in range(len(order))),
            tuple(float(shares[i]) for i in order),
            0.0,
            1.0,
        )
    values = spread.sample()
    mean, scale = float(values.mean()), float(values.std())
    if spread.exact and spread.normal is not None:
        mean, scale = spread.normal
    return continuous_column(name, values, discretizer, mean, scale or 1.0, None)


def _unused(name: str, values: Sequence[Value], discretizer: str) -> Column:
    import numpy as np

    try:
        numbers: FloatArray = np.array([to_number(value) for value in values if value is not None])
    except (TypeError, ValueError):
        found = tuple(sorted({value for value in values if value is not None}, key=str))
        found = (False, True) if _are_truths(values) else found
        share = tuple(1.0 / len(found) for _ in found)
        return Column(name, found, tuple(map(float, range(len(found)))), share, 0.0, 1.0)
    numbers = numbers if numbers.size else np.zeros(1)
    return continuous_column(
        name, numbers, discretizer, float(numbers.mean()), float(numbers.std()) or 1.0, None
    )
