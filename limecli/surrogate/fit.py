"""One label's surrogate: choose features, fit them, say how well it fits and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from limecli.surrogate.blocks import BlockedSamples, BlockedTarget, inverse, of_usual_size
from limecli.surrogate.fidelity import held_out, held_out_split
from limecli.surrogate.intervals import Alike, Errors, correlation_of_all
from limecli.surrogate.ridge import Target, WeightedSamples
from limecli.surrogate.sandwich import PAIR, errors_on_all, hc3, replicate_effects
from limecli.surrogate.selection import choose, select

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

_ALPHA = 1.0  # lime's
_FEWEST_REPLICATES = 4
_NO_WEIGHT = "the kernel gives no sample a weight"
_TOO_FEW = "fewer than two samples a feature"
_MOST_ALIKE = 1000  # features; with more, forward selection is not imagined
_UNCORRELATED = 0.05  # a correlation below it changes nothing that is chosen
_PARTS = 512  # of the samples, whose errors say how those of features go together
_AT_ONCE = 1 << 17  # numbers that are worked on at a time
COMPARED = 5  # features that two runs are compared by where all are shown
_TOO_FAR = "the kernel leaves too few samples near the instance"
_FEW_REPLICATES = "fewer than four replicates"
_SMALL_REPLICATES = "fewer than two samples a feature in each replicate"


@dataclass(frozen=True)
class Weight:
    """One feature's weight; the other fields are those of `types.Attribution`."""

    feature: int
    weight: float
    low: float | None = None
    high: float | None = None
    sign_probability: float | None = None
    top_probability: float | None = None
    ranks: tuple[int, int] | None = None


@dataclass(frozen=True)
class Fit:
    """One label's surrogate as numbers, its weights strongest first; see `types.Surrogate`.

    `r2` is None where it is undefined: the model answers the same for every sample. `errors` is
    None where there are no intervals. `replicates` `[blocks, k]` are each one's `weights`, if any.
    """

    intercept: float
    weights: tuple[Weight, ...]
    r2: float | None
    local_prediction: float
    fidelity: float | None = None
    stability: float | None = None
    interval: str | None = None
    no_interval: str = ""
    errors: Errors | None = field(default=None, compare=False, repr=False)
    stability_top: int | None = None
    replicates: FloatArray | None = field(default=None, compare=False, repr=False)

    @property
    def pairs(self) -> tuple[tuple[int, float], ...]:
        """(feature, weight) of each, strongest first."""
        return tuple((found.feature, found.weight) for found in self.weights)


def fit(
    samples: WeightedSamples,
    outputs: FloatArray,
    first: FloatArray,
    method: str,
    k: int,
    scored: Sequence[int] | None = None,
) -> Fit:
    """Fit `float[n]` outputs of one label (Ribeiro et al. 2016, algorithm 1; lime_base).

    `first` is z of the instance itself, `method` and `k` say how many features and which. `scored`
    are the folds (of 8) that fidelity is measured on, by default all.
    """
    values, exponent = of_usual_size(outputs)
    target = Target(samples, values)
    features = select(target, first, method, k)
    if target.constant:
        return _constant_fit(features, float(outputs[0]), "HC3")
    intercept, coefficients = target.ridge(features, _ALPHA)
    no_interval = _TOO_FEW if samples.n < 2 * samples.n_features else _too_far(samples, features)
    inverted = None
    if not no_interval:
        gram = samples.gram[features[:, None], features]
        inverted = inverse(gram, np.zeros(len(features), np.bool_), _ALPHA)
    left, covariance = hc3(samples, target.residuals, features, coefficients, inverted)
    if target.blocked is None:
        fidelity = held_out_split(samples, values, first, method, k, _ALPHA)
    else:
        fidelity = held_out(target.blocked, first, method, k, _ALPHA, scored)
    errors = None
    if not no_interval:
        errors = Errors(
            features, coefficients, covariance, np.inf, target.on_all,
            _errors_of_all(target, features, coefficients, covariance, method),
            importance(method, k, first, samples.variances()),
            alike=alike(method, k, samples, target.residuals, features, coefficients, unit=1),
        )  # fmt: skip
    return assembled(
        exponent, intercept, features, coefficients, first, 1.0 - left / target.total_squares,
        fidelity, k, "HC3", errors, no_interval,
    )  # fmt: skip


def fit_replicates(
    samples: BlockedSamples,
    outputs: FloatArray,
    first: FloatArray,
    method: str,
    k: int,
    scored: Sequence[int] | None = None,
) -> Fit:
    """Fit samples whose blocks are independent draws of one design (Sobol, Hadamard).

    No penalty, and no sample of the instance itself: the limit of many samples is what is
    estimated. The weights are those of all samples together; their errors come from how the
    replicates pull them, with Student's t.
    """
    values, exponent = of_usual_size(outputs)
    target = BlockedTarget(samples, values)
    if target.constant:
        return _constant_blocks(target, method, k, outputs, "replicates")
    features, coefficients, inverted = _pooled_fit(target, first, method, k)
    no_interval = _too_far(samples, features)
    if samples.blocks < _FEWEST_REPLICATES:
        no_interval = _FEW_REPLICATES
    elif samples.size < 2 * samples.n_features:
        no_interval = _SMALL_REPLICATES
    errors = None
    if not no_interval:
        r, effects = samples.blocks, replicate_effects(target, features, coefficients, inverted)
        everything = target.pooled.ridge(0.0)[0]
        errors = Errors(
            features, coefficients, effects.T @ effects * (r / (r - 1)), r - 1.0, everything,
            errors_on_all(target, *compared(method, features, coefficients, everything), None),
            importance(method, k, first, samples.gram.diagonal()), coefficients + r * effects,
        )  # fmt: skip
    return assembled(
        exponent, target.mean - float(samples.means[features] @ coefficients), features,
        coefficients, first, r2_of(target, features, coefficients),
        held_out(target, first, method, k, 0.0, scored), k, "replicates", errors, no_interval,
    )  # fmt: skip


def fit_pairs(
    samples: BlockedSamples,
    outputs: FloatArray,
    first: FloatArray,
    method: str,
    k: int,
    scored: Sequence[int] | None = None,
) -> Fit:
    """Fit samples in complement pairs, rows 2i and 2i+1 (blocks of `unit` 2), without penalty and
    without a sample of the instance itself.
    """
    values, exponent = of_usual_size(outputs)
    target = BlockedTarget(samples, values)
    if target.constant:
        return _constant_blocks(target, method, k, outputs, "pairs")
    features, coefficients, inverted = _pooled_fit(target, first, method, k)
    no_interval = _TOO_FEW if samples.n < 2 * samples.n_features else _too_far(samples, features)
    errors = None
    if not no_interval:
        residuals = target.residuals.reshape(-1)[: samples.n]
        _, covariance = hc3(samples, residuals, features, coefficients, inverted, PAIR)
        everything = target.pooled.ridge(0.0)[0]
        errors = Errors(
            features, coefficients, covariance, np.inf, everything,
            errors_on_all(target, *compared(method, features, coefficients, everything), PAIR),
            importance(method, k, first, samples.gram.diagonal()),
            alike=alike(method, k, samples, residuals, features, coefficients, PAIR),
        )  # fmt: skip
    return assembled(
        exponent, target.mean - float(samples.means[features] @ coefficients), features,
        coefficients, first, r2_of(target, features, coefficients),
        held_out(target, first, method, k, 0.0, scored), k, "pairs", errors, no_interval,
    )  # fmt: skip


def _pooled_fit(
    target: BlockedTarget, first: FloatArray, method: str, k: int
) -> tuple[NDArray[np.intp], FloatArray, FloatArray]:
    """The features chosen by all samples together, their weights, and their inverse Gram matrix."""
    features = choose(target.pooled, first, method, k, 0.0)[0]
    inverted = target.samples.inverse_on(features)
    return features, inverted @ target.pooled.products[0, features], inverted


def r2_of(target: BlockedTarget, features: NDArray[np.intp], coefficients: FloatArray) -> float:
    """In-sample R², from sums."""
    pooled = target.pooled.only(0)
    gram = pooled.gram[features[:, None], features]
    explained = coefficients @ (2.0 * pooled.products[features] - gram @ coefficients)
    return float(explained) / target.total_squares


def _too_far(samples: WeightedSamples | BlockedSamples, features: NDArray[np.intp]) -> str:
    """Whether so few samples have a weight that residuals say little, or none of those where a
    feature is not the instance's.
    """
    weights = samples.weights
    effective = samples.total**2 / float(weights @ weights)
    if effective < 2 * (len(features) + 1):
        return _TOO_FAR
    dead = features[samples.dead[features]]
    varying = any((samples.z[j] != samples.z[j, 0]).any() for j in dead.tolist())
    return _TOO_FAR if varying else ""


def _errors_of_all(
    target: Target,
    features: NDArray[np.intp],
    coefficients: FloatArray,
    covariance: FloatArray,
    method: str,
) -> FloatArray:
    """`errors_on_all`, or what the chosen features' own errors make likely without folds."""
    if target.blocked is not None:
        parts = compared(method, features, coefficients, target.on_all)
        return errors_on_all(target.blocked, *parts, unit=1)
    variances = target.samples.variances()
    share = (covariance.diagonal() * variances[features]).mean()
    alive = variances > 0
    return np.asarray(
        np.sqrt(np.divide(share, variances, out=np.zeros(len(variances)), where=alive))
    )


def compared(
    method: str, features: NDArray[np.intp], coefficients: FloatArray, everything: FloatArray
) -> tuple[NDArray[np.intp], FloatArray]:
    """The fit whose rest is the noise when features are chosen: forward selection compares them by
    what the chosen ones leave, the other methods by what all leave.
    """
    if method == "forward_selection":
        return features, coefficients
    return np.arange(len(everything)), everything


def alike(
    method: str,
    k: int,
    samples: WeightedSamples | BlockedSamples,
    residuals: FloatArray,
    features: NDArray[np.intp],
    coefficients: FloatArray,
    unit: int,
) -> Alike | None:
    """How forward selection sees features that correlate; None for other methods, and for too many
    features. Samples are independent, or groups of `unit` are. Errors are of what `features` leave
    of the outputs.
    """
    if method != "forward_selection" or not k < samples.n_features <= _MOST_ALIKE:
        return None
    alive = ~samples.dead
    correlation = correlation_of_all(samples.gram, alive)
    if abs(correlation) < _UNCORRELATED:
        return None
    groups = samples.n // unit
    errors = part_errors(samples, residuals, features, coefficients, unit)
    errors[:, alive] /= np.sqrt(samples.gram.diagonal()[alive])
    errors[:, ~alive] = 0.0
    errors *= np.sqrt(groups / (groups - min(len(features), groups / 2)))
    return Alike(correlation, errors, samples.dead)


def part_errors(
    samples: WeightedSamples | BlockedSamples,
    residuals: FloatArray,
    features: NDArray[np.intp],
    coefficients: FloatArray,
    unit: int,
) -> FloatArray:
    """S times what the weights leave of the outputs, by parts of the samples that are independent,
    `[parts, d]`, as far as they differ from their mean.
    """
    size = unit * -(-samples.n // (unit * _PARTS))
    step = size * max(1, _AT_ONCE // (size * samples.n_features))
    found = []
    for start in range(0, samples.n, step):
        part = slice(start, min(start + step, samples.n))
        scaled = samples.scaled(np.arange(samples.n_features), part)
        scaled *= residuals[part] - coefficients @ scaled[features]
        found.append(np.add.reduceat(scaled, np.arange(0, scaled.shape[1], size), axis=1))
    errors = np.concatenate(found, axis=1).T
    parts = len(errors)
    return np.asarray((errors - errors.mean(axis=0)) * np.sqrt(parts / (parts - 1)))


def importance(method: str, k: int, first: FloatArray, variances: FloatArray) -> FloatArray:
    """What `method` multiplies a weight's size by to rank it: |z|, or the root of z's variance.
    Where all features are shown they are ranked as they are shown: by the weight itself.
    """
    if method == "none" or k >= len(first):
        return np.ones(len(first))
    if method == "forward_selection":
        return np.sqrt(np.maximum(variances, 0.0))
    return np.abs(first)


def _constant_blocks(
    target: BlockedTarget,
    method: str,
    k: int,
    outputs: FloatArray,
    interval: str,
) -> Fit:
    """The surrogate of a model that answers the same everywhere."""
    d = target.samples.n_features
    features = np.arange(d if method == "none" else min(k, d))
    if target.samples.total == 0:
        zeros = tuple(Weight(int(j), 0.0) for j in features)
        mean = float(outputs.mean())
        return Fit(mean, zeros, None, mean, no_interval=_NO_WEIGHT)
    seen = outputs[target.samples.weights > 0]
    if np.ptp(outputs) > 0:  # where it answers otherwise no sample has a weight
        zeros = tuple(Weight(int(j), 0.0) for j in features)
        return Fit(float(seen[0]), zeros, None, float(seen[0]), no_interval=_TOO_FAR)
    return _constant_fit(features, float(seen[0]), interval)


def _constant_fit(features: NDArray[np.intp], mean: float, interval: str) -> Fit:
    """Weights 0 without error, all of them tied."""
    ranks = (1, len(features))
    zeros = tuple(Weight(int(j), 0.0, 0.0, 0.0, 0.5, None, ranks) for j in features)
    return Fit(mean, zeros, None, mean, interval=interval)


def compared_top(k: int, d: int) -> int:
    """How many of the strongest two runs are compared by: those shown, or of all the first few."""
    return k if k < d else max(min(COMPARED, d - 1), 1)


def assembled(
    exponent: int,
    intercept: float,
    features: NDArray[np.intp],
    coefficients: FloatArray,
    first: FloatArray,
    r2: float,
    fidelity: float | None,
    k: int,
    interval: str,
    errors: Errors | None,
    no_interval: str,
) -> Fit:
    """A Fit in the unit of the outputs, which were divided by two to the power of `exponent`."""
    order = np.argsort(-np.abs(coefficients), kind="stable")
    local = intercept + float(first[features] @ coefficients)
    weights = np.ldexp(coefficients, exponent)
    d = len(first)
    top = compared_top(k, d)
    likely, stability = (None, None) if errors is None else errors.outlook(top)
    if errors is None:
        found = tuple(Weight(int(features[i]), float(weights[i])) for i in order)
    else:
        margins = np.ldexp(errors.half_widths(), exponent)
        among = np.ones(d) if likely is None or k >= d else likely
        found = _with_intervals(errors, order, weights, margins, among[features])
    return Fit(
        float(np.ldexp(intercept, exponent)),
        found,
        r2,
        float(np.ldexp(local, exponent)),
        None if no_interval == _TOO_FAR else fidelity,
        stability,
        None if errors is None else interval,
        no_interval,
        errors,
        top,
        None if errors is None else errors.replicated(order, exponent),
    )


def _with_intervals(
    errors: Errors,
    order: NDArray[np.intp],
    weights: FloatArray,
    margins: FloatArray,
    likely: FloatArray,
) -> tuple[Weight, ...]:
    columns = (
        errors.features, weights, weights - margins, weights + margins, errors.signs(), likely,
    )  # fmt: skip
    rows = zip(*(column[order].tolist() for column in columns), errors.ranks(order), strict=True)
    return tuple(Weight(*row) for row in rows)
