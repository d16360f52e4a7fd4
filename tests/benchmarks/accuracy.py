"""How right explanations are: exact weights, better draws, intervals, orders, and what it costs.

    python tests/benchmarks/accuracy.py            # some fifteen minutes
    python tests/benchmarks/accuracy.py --quick    # fewer seeds and a smaller limit: rough
    python tests/benchmarks/accuracy.py coverage settle       # only some of the parts

Prints a table in Markdown. "The limit" is what lime's weights tend to as its samples grow in
number (beds.py). Everything is measured on the engine itself, as a user would run it, one seed
after another; counts of evaluations do not depend on the machine, times are CPU times of one
thread.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any

import beds
import numpy as np
from beds import TableBed
from runs import (
    BOOSTED,
    CONTROLLED,
    HADAMARD,
    LIME,
    PAIRS,
    SOBOL,
    WAYS,
    Bed,
    Runs,
    Way,
    bed_of,
    explained,
    repeated,
    settings_of,
)
from speed import limecli, medians
from threadpoolctl import threadpool_limits

from limecli.explainers.samplers import TIE_TOLERANCE
from limecli.neighborhood.sobol import sobol_plan
from limecli.types import Surrogate


@dataclass(frozen=True)
class Line:
    """A line of the table; `met` is None where there is nothing to meet."""

    what: str
    measured: str
    target: str
    met: bool | None

    def __str__(self) -> str:
        mark = {True: "met", False: "**missed**", None: ""}[self.met]
        return f"| {self.what} | {self.measured} | {self.target} | {mark} |"


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    seeds: int
    settled: int  # runs with --settle
    accuracies: int  # seeds at each number of evaluations
    limit: int  # evaluations


FULL = Scale(seeds=500, settled=200, accuracies=100, limit=1 << 19)
QUICK = Scale(seeds=100, settled=40, accuracies=24, limit=1 << 17)


# Evaluations for lime's accuracy


def error(found: Runs, bed: Bed) -> float:
    """Root mean square difference from the limit, over features and seeds."""
    return float(np.sqrt(np.mean((found.weights - bed.limit.weights) ** 2)))


def needed(name: str, way: Way, scale: Scale) -> tuple[float, float]:
    """Evaluations that a way needs for the error of lime's default, as a share of lime's number,
    and that error. Between two sizes the error is taken to fall as a power of their number.
    """
    bed = bed_of(name, scale.limit)
    lime = error(repeated(name, scale.limit, LIME, None, None, scale.accuracies), bed)
    before: tuple[float, float] | None = None
    for n in sizes(bed):
        found = repeated(name, scale.limit, way, n, None, scale.accuracies)
        here = (float(np.log(found.evaluations)), float(np.log(error(found, bed) / lime)))
        if here[1] <= 0:
            at = here[0] if before is None else float(
                np.interp(0, [here[1], before[1]], [here[0], before[0]])
            )  # fmt: skip
            return float(np.exp(at)) / bed.num_samples, lime
        before = here
    return np.inf, lime


def sizes(bed: Bed) -> list[int]:
    """Numbers of samples to try."""
    if isinstance(bed, TableBed):
        wanted = [size << power for power in range(6, 12) for size in (2, 3)]
        plans = [sobol_plan(n, bed.n_features) for n in wanted]
        return sorted({plan.n for plan in plans if plan is not None})
    if bed.kind == "image":
        return [256, 512, 768, 1024, 2048]
    return [625, 1250, 1700, 2500, 3400, 5000, 10000]


NEEDED = {
    ("iris", SOBOL): 1 / 10,
    ("iris", BOOSTED): 1 / 10,
    ("breast_cancer", SOBOL): 1 / 4,
    ("breast_cancer", BOOSTED): 1 / 4,
    ("mixed", SOBOL): None,
    ("mixed", BOOSTED): None,
    ("picture", HADAMARD): 2 / 5,
    ("picture", PAIRS): None,
    ("picture", CONTROLLED): None,
    ("text", PAIRS): 2 / 3,
    ("text", CONTROLLED): 1 / 3,
    ("forest_text", PAIRS): 2 / 3,
    ("forest_text", CONTROLLED): None,  # half as long a text as the target's
}


def evaluations(scale: Scale) -> Iterator[Line]:
    """Evaluations for lime's default accuracy, by bed and way."""
    for (name, way), limit in NEEDED.items():
        share, lime = needed(name, way, scale)
        bed = bed_of(name, scale.limit)
        target = "" if limit is None else f"<= {limit:.2f}"
        yield Line(
            f"{bed.name}: evaluations for lime's accuracy (RMSE {lime:.2g} at {bed.num_samples}),"
            f" {way}", f"{share:.3f} of lime's; 1/{1 / share:.1f}", target,
            None if limit is None else share <= limit,
        )  # fmt: skip


# Intervals


def covered(found: Runs, bed: Bed) -> float:
    """Share of 95 % intervals that hold the limit, over features and seeds."""
    inside = (found.low <= bed.limit.weights) & (bed.limit.weights <= found.high)
    return float(inside[~np.isnan(found.low)].mean())


def covered_chosen(found: Runs, bed: Bed) -> float:
    """The same where features were chosen: the limit of a fit on those that a run chose."""
    shares = []
    for weights, low, high in zip(found.weights, found.low, found.high, strict=True):
        chosen = np.flatnonzero(~np.isnan(weights))
        true = bed.limit.of(chosen)
        shares.append(np.mean((low[chosen] <= true) & (true <= high[chosen])))
    return float(np.mean(shares))


def signs(found: Runs, bed: Bed) -> tuple[float, float]:
    """How sure of the sign runs were, on average, and how often they were right; of weights whose
    sign the limit itself leaves in no doubt.
    """
    limit = bed.limit
    known = np.abs(limit.weights) > 4 * limit.errors
    right = np.sign(found.weights[:, known]) == np.sign(limit.weights[known])
    said = ~np.isnan(found.sign[:, known])
    return float(found.sign[:, known][said].mean()), float(right[said].mean())


def numbers(bed: Bed, way: Way) -> tuple[int, ...]:
    """Numbers of samples to look at intervals with; the last one suffices for lime's error."""
    n = bed.num_samples
    if way.control:  # its fits take long
        return (n // 4,) if way == BOOSTED else (n,) if bed.kind == "image" else (n // 3,)
    return {LIME: (n,), SOBOL: (n, n // 4), HADAMARD: (2 * n, n), PAIRS: (n, n // 2)}[way]


def coverage(scale: Scale) -> Iterator[Line]:
    """95 % intervals of every bed and way, and P(sign)."""
    for name, ways in WAYS.items():
        bed = bed_of(name, scale.limit)
        for way in ways:
            for n in numbers(bed, way):
                yield coverage_line(name, way, n, scale)


def coverage_line(name: str, way: Way, n: int, scale: Scale) -> Line:
    """One bed, way and number of samples; all features, and those chosen where it matters."""
    bed = bed_of(name, scale.limit)
    found = repeated(name, scale.limit, way, n, None, scale.seeds)
    share, (sure, right) = covered(found, bed), signs(found, bed)
    missing = sum(one.interval is None for one in found.surrogates)
    more = f"; {missing} runs without intervals" if missing else ""
    if bed.n_features > 10 and not way.control:
        chosen = repeated(name, scale.limit, way, n, 10, scale.seeds)
        more += f"; of 10 chosen {covered_chosen(chosen, bed):.3f}"
    return Line(
        f"{bed.name}: coverage over {scale.seeds} seeds, {way}, {found.evaluations:.0f}"
        " evaluations",
        f"{share:.3f}{more}; P(sign) said {sure:.3f}, right {right:.3f}",
        ".93 to .97",
        0.93 <= share <= 0.97,
    )


# Orders


def strongest(found: Runs, k: int) -> list[frozenset[int]]:
    """The k strongest features of each run."""
    return [frozenset(one.index for one in surrogate.attributions[:k])
            for surrogate in found.surrogates]  # fmt: skip


def jaccard(sets: list[frozenset[int]]) -> float:
    """Mean Jaccard index of two runs."""
    return float(np.mean([len(a & b) / len(a | b) for a, b in combinations(sets, 2)]))


def stability(scale: Scale) -> Iterator[Line]:
    """The Jaccard index that a run expects of itself and another, against that of real ones."""
    for name, ways in WAYS.items():
        bed = bed_of(name, scale.limit)
        for way in ways:
            if way.control and name != "picture":
                continue
            for k in (3,) if bed.n_features < 10 else (5, 10):
                found = repeated(name, scale.limit, way, None, k, scale.seeds)
                true = jaccard(strongest(found, k))
                said = [one.stability for one in found.surrogates if one.stability is not None]
                expected = float(np.mean(said)) if said else np.nan
                yield Line(f"{bed.name}: Jaccard index of the {k} strongest, {way}",
                           f"expected {expected:.2f} (each within"
                           f" {np.std(said) if said else np.nan:.2f}), true {true:.2f}",
                           "within .10", abs(expected - true) <= 0.10)  # fmt: skip


def wrong_orders(surrogate: Surrogate, strengths: np.ndarray, top: int) -> int:
    """How many pairs, one of them among the `top`, are claimed in an order that is not so.

    A pair is claimed where the first one's last rank is above the other's first. `strengths` are
    the true absolute weights by feature.
    """
    ranked = surrogate.attributions
    return sum(
        strengths[a.index] < strengths[b.index]
        for i, a in enumerate(ranked[:top])
        for b in ranked[i + 1 :]
        if a.ranks is not None and b.ranks is not None and a.ranks[1] < b.ranks[0]
    )


def wrong_ties(surrogate: Surrogate, strengths: np.ndarray, top: int, tolerance: float) -> int:
    """How many of the `top` are tied with one that is weaker or stronger by more than allowed."""
    ranked, allowed = surrogate.attributions, tolerance * strengths.max()
    return sum(
        abs(strengths[a.index] - strengths[b.index]) > allowed
        for a, b in pairwise(ranked[: top + 1])
        if a.ranks is not None and a.ranks == b.ranks
    )


def settle(scale: Scale) -> Iterator[Line]:
    """Runs that say that the order of the strongest is settled, and are wrong."""
    for name, ways in WAYS.items():
        quick = name in {"iris", "picture"}  # the others take seconds a run
        for way in ways[1:]:
            if name == "picture" or not way.control:
                yield settle_line(name, way, scale.settled if quick else scale.settled // 4, scale)


def settle_line(name: str, way: Way, count: int, scale: Scale) -> Line:
    """One bed and way; from few samples on, so that there are many looks."""
    bed = bed_of(name, scale.limit)
    top, strengths = min(5, bed.n_features - 1), np.abs(bed.limit.weights)
    n = None if name == "picture" else bed.num_samples // 4
    settings = replace(settings_of(bed, way, n), settle=top, tie_tolerance=TIE_TOLERANCE)
    found = [explained(bed, replace(settings, seed=seed)) for seed in range(count)]
    orders = ties = wrong = early = 0
    for one in found:
        surrogate = one.surrogates[0]
        order = wrong_orders(surrogate, strengths, top) > 0
        tie = wrong_ties(surrogate, strengths, top, TIE_TOLERANCE) > 0
        if surrogate.settled:
            orders, ties, wrong = orders + order, ties + tie, wrong + (order or tie)
        else:
            early += order
    settled = sum(bool(one.surrogates[0].settled) for one in found)
    calls = np.median([one.weight_calls for one in found])
    return Line(
        f"{bed.name}: --settle {top}, {way}",
        f"{wrong} of {count} runs wrong ({orders} by an order, {ties} by a tie); {settled}"
        f" settled, median {calls:.0f} evaluations; unsettled with a wrong order: {early}",
        "<= 5 % wrong",
        wrong <= 0.05 * count,
    )


# Exact weights


def exact_beds(limit: int) -> Iterator[TableBed]:
    """Models that are sums over boxes, discretised and not."""
    for discretizer in ("quartile", "none"):
        yield beds.iris(limit, discretizer)
        yield beds.cancer(limit, "forest", discretizer)
        yield beds.cancer(limit, "extra trees", discretizer)
        yield beds.diabetes(limit, discretizer)
        yield beds.mixed(limit, discretizer)


def exact(scale: Scale) -> Iterator[Line]:
    """Exact weights against the limit, and what they cost beside shap's."""
    from scipy.stats import t

    for bed in exact_beds(scale.limit):
        form = "quartiles" if bed.binned else "undiscretised"
        found = explained(bed, settings_of(bed, Way("exact")))
        weights = np.zeros(bed.n_features)
        for one in found.surrogates[0].attributions:
            weights[one.index] = one.weight
        limit = bed.limit
        gap = np.abs(weights - limit.weights)
        errors = np.maximum(limit.errors, 1e-12 * np.abs(limit.weights).max())
        worst = float((gap / errors).max())
        # What the largest of so many differences stays below in 99 of 100 limits.
        allowed = float(t.ppf(1 - 0.005 / bed.n_features, beds.PARTS - 1))
        exactly = found.sampler == "exact" and found.weight_calls == 0
        yield Line(
            f"{bed.name}, {form}: exact weights against the limit of {scale.limit} evaluations",
            f"{worst:.1f} of its standard errors ({gap.max():.1g} of {limit.errors.max():.1g});"
            f" {found.weight_calls} calls for the weights, {found.model_calls} to check",
            f"<= {allowed:.1f} standard errors, 0 calls", exactly and worst <= allowed,
        )  # fmt: skip
    yield from against_shap()


def against_shap() -> Iterator[Line]:
    """Tables once, and a row, for 100 trees on 30 features."""
    for model in ("forest", "extra trees"):
        for discretizer in ("quartile", "none"):
            yield from exact_costs(beds.cancer(0, model, discretizer))


def exact_costs(bed: TableBed) -> Iterator[Line]:
    """One model: its leaves and tables with a first row, then all rows, together and one by one."""
    from limecli.neighborhood.laws import bin_laws, normal_laws
    from limecli.surrogate.exact import Exact, exact_bins, exact_normals

    columns, width, labels = bed.background.columns, bed.width, [bed.label]
    rows = np.stack([instance.payload for instance in bed.instances])
    places = bed.space.codes(rows) if bed.binned else rows

    def built() -> Exact:
        boxes = bed.predictor.leaf_boxes()
        if bed.binned:
            made = exact_bins(boxes, bin_laws(columns, boxes))
        else:
            made = exact_normals(boxes, normal_laws(columns, boxes), around=False)
        made.moments(places[0], width, labels)
        return made

    ready, some = built(), places[:100]
    explainer = tree_explainer(bed)
    calls = [
        built,
        lambda: ready.many(places, width, labels),
        lambda: [ready.moments(row, width, labels) for row in some],
    ]
    if explainer is not None:
        calls.append(lambda: explainer.shap_values(rows))
        calls.append(lambda: [explainer.shap_values(row[None]) for row in rows[:100]])
    once, *taken = medians(5, *calls)
    per_row = [1000 * s / n for s, n in zip(taken, [len(rows), 100] * 2, strict=False)]
    form = "quartiles" if bed.binned else "undiscretised"
    yield Line(f"{bed.name}, {form}: leaves and tables once, with the first row",
               f"{once * 1000:.0f} ms", "< 100 ms", once < 0.1)  # fmt: skip
    for i, how in enumerate(("all in one call", "one by one")):
        what = f"{bed.name}, {form}: a row, {how}"
        if explainer is None:
            yield Line(what, f"{per_row[i]:.3f} ms; shap is not installed", "", None)
        else:
            yield Line(what, f"{per_row[i]:.3f} ms; shap's TreeExplainer {per_row[i + 2]:.3f} ms",
                       "not slower", per_row[i] <= per_row[i + 2])  # fmt: skip


def tree_explainer(bed: TableBed) -> Any:
    """shap's path-dependent explainer; None where shap is absent."""
    try:
        import shap
    except ImportError:
        return None
    return shap.TreeExplainer(bed.predictor.fitted, feature_perturbation="tree_path_dependent")


# Many rows


def many(scale: Scale) -> Iterator[Line]:
    """1000 rows in one call, against a loop over lime with a fresh explainer each."""
    bed = bed_of("breast_cancer", scale.limit)
    for way in (BOOSTED, SOBOL):
        share, _ = needed("breast_cancer", way, scale)
        n = round(share * bed.num_samples)
        yield rows_line(bed, way, n, 100.0, scale)
    forest = beds.cancer(scale.limit, "forest")
    yield rows_line(forest, Way("exact"), None, 300.0, scale)


def rows_line(bed: TableBed, way: Way, n: int | None, target: float, scale: Scale) -> Line:
    """One model; lime's loop is timed on some of the rows."""
    from lime.lime_tabular import LimeTabularExplainer

    settings = settings_of(bed, way, n, 10)
    looped, rounds = (5, 1) if scale is QUICK else (20, 3)
    rows = len(bed.instances)
    instances = [replace(bed.instances[i % rows], id=str(i), index=i) for i in range(1000)]
    data = np.stack([instance.payload for instance in bed.instances])
    loop_of = instances[:: 1000 // looped][:looped]

    def loop() -> None:
        for item in loop_of:
            LimeTabularExplainer(data, random_state=0).explain_instance(
                item.payload, bed.predictor.predict_fn, labels=(bed.label,)
            )

    lime, ours = medians(
        rounds, loop, lambda: limecli(bed.predictor, instances, settings, bed.background)
    )
    times = (lime / looped) / (ours / 1000)
    return Line(
        f"1000 rows of {bed.name} in one call, {way}{'' if n is None else f', n = {n}'}"
        f" (lime: {looped} of them in a loop)",
        f"{1000 / ours:.0f} rows/s against {looped / lime:.1f}: {times:.0f} times",
        f">= {target:.0f} times", times >= target,
    )  # fmt: skip


PARTS = {
    "exact": exact,
    "evaluations": evaluations,
    "coverage": coverage,
    "settle": settle,
    "stability": stability,
    "many": many,
}


def main() -> None:
    """Print the table, line by line as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="fewer seeds, a smaller limit")
    asked = parser.parse_args()
    unknown = set(asked.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # what is loaded from here on
    threadpool_limits(1)  # what is loaded already
    warnings.simplefilter("ignore")
    print("| what | measured | target | |")
    print("| --- | --- | --- | --- |")
    for name in asked.parts or PARTS:
        for line in PARTS[name](QUICK if asked.quick else FULL):
            print(line, flush=True)


if __name__ == "__main__":
    main()
