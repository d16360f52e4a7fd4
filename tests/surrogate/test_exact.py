"""Exact weights are the limit of lime's fit: sums over all bins, closed forms, large samples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
)

from limecli.inputs.background import continuous_column
from limecli.leaf_boxes import LeafBoxes
from limecli.neighborhood.kernel import kernel
from limecli.neighborhood.laws import bin_laws, normal_laws
from limecli.neighborhood.lime_stream import draw_bins, draw_normals, generator
from limecli.neighborhood.tabular_space import TabularSpace
from limecli.surrogate.exact import Moments, exact_bins, exact_fit, exact_normals
from limecli.surrogate.ridge import Target, WeightedSamples
from limecli.surrogate.selection import select
from limecli.types import Column

INF = np.inf
METHODS = ["none", "forward_selection", "highest_weights", "lasso_path"]


def numbers(values, discretizer="quartile"):
    values = np.asarray(values, float)
    scale = float(np.nanstd(values)) or 1.0
    return continuous_column("x", values, discretizer, float(np.nanmean(values)), scale, None)


def categories(*shares):
    codes = tuple(float(code) for code, share in enumerate(shares) if share)
    names = tuple("abcdefgh"[: len(shares)])
    return Column("x", names, codes, tuple(share for share in shares if share), 0.0, 1.0)


def boxes_of(leaves, values, offset=0.0, codes=None, missing=(), curves=None):
    """Leaves as dictionaries {feature: (low, high) or the codes of a category}."""
    sides, leaf, factor = {}, [], []
    for i, sets in enumerate(leaves):
        for j, side in sets.items():
            leaf.append(i)
            factor.append(sides.setdefault((j, side), len(sides)))
    interval = [isinstance(side, tuple) for _, side in sides]
    n = len(sides)
    ends = [side if whole else (0, 0) for (_, side), whole in zip(sides, interval, strict=True)]
    low, high = np.array(ends, float).reshape(n, 2).T
    inside = np.zeros((n, codes or 0), np.bool_)
    for row, (_, side), whole in zip(inside, sides, interval, strict=True):
        if not whole:
            row[list(side)] = True
    values = np.asarray(values, float)
    values = values.reshape(len(leaves), -1) if len(leaves) else np.zeros((0, 1))
    return LeafBoxes(
        leaf=np.array(leaf, np.int64),
        factor=np.array(factor, np.int64),
        feature=np.array([j for j, _ in sides], np.int64),
        low=low,
        high=high,
        missing=np.array([key in missing for key in sides], np.bool_),
        codes=inside,
        values=values,
        offset=np.full(values.shape[1], offset),
        curves={} if curves is None else curves,
    )


def boxes_of_trees(trees, share, probabilities):
    leaves, values = [], []
    for tree in trees:
        stack = [(0, {})]
        while stack:
            node, box = stack.pop()
            if tree.children_left[node] < 0:
                value = tree.value[node][0]
                leaves.append(box)
                values.append((value / value.sum() if probabilities else value) * share)
                continue
            j, cut = int(tree.feature[node]), float(tree.threshold[node])
            low, high = box.get(j, (-INF, INF))
            stack.append((tree.children_left[node], {**box, j: (low, min(high, cut))}))
            stack.append((tree.children_right[node], {**box, j: (max(low, cut), high)}))
    return boxes_of(leaves, values)


# The sum over all cells


def by_cells(boxes, laws, codes, width):
    """Coefficients, mean of z and mean of f of a weighted regression on all cells of codes."""
    d = len(codes)
    number = {g: list(np.flatnonzero(boxes.feature == boxes.feature[g])).index(g)
              for g in range(len(boxes.feature))}  # fmt: skip
    zs, weights, outputs = [], [], []
    for cell in itertools.product(*(range(len(laws.frequencies[j])) for j in range(d))):
        z = np.array([a == b for a, b in zip(cell, codes, strict=True)], float)
        chance = np.prod([laws.frequencies[j][cell[j]] for j in range(d)])
        f = boxes.offset.copy()
        for i, value in enumerate(boxes.values):
            part = 1.0
            for g in boxes.factor[boxes.leaf == i]:
                j = boxes.feature[g]
                part *= laws.masses[j][number[g], cell[j]]
            f += part * value
        f += sum(laws.curves[j][cell[j]] for j in laws.curves)
        zs.append(z)
        weights.append(chance * kernel(np.sqrt((1 - z).sum()), width))
        outputs.append(f)
    zs, weights, outputs = np.array(zs), np.array(weights), np.array(outputs)
    weights /= weights.sum()
    mean, expected = weights @ zs, weights @ outputs
    covariance = (zs - mean).T * weights @ (outputs - expected)
    variance = weights @ (zs - mean) ** 2
    return covariance, mean, variance, expected


@st.composite
def models(draw):
    """Random boxes on two columns of numbers (one of them with gaps) and one of categories."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    gaps = np.where(rng.random(80) < 0.2, np.nan, rng.normal(size=80))
    whole = rng.integers(0, 4, 80)
    shares = rng.dirichlet(np.ones(3))
    columns = [numbers(gaps), numbers(whole), categories(*shares, 0.0)]
    sides, missing = [[], [], []], set()
    for j in (0, 1):
        for _ in range(3):
            side = tuple(np.sort(rng.normal(1.5 * j, 2, 2)).tolist())
            sides[j].append(side)
            if rng.random() < 0.5:
                missing.add((j, side))
    sides[2] = [frozenset(np.flatnonzero(rng.random(4) < 0.5).tolist()) for _ in range(3)]
    leaves = []
    for _ in range(draw(st.integers(1, 6))):
        used = rng.permutation(3)[: rng.integers(1, 4)]
        leaves.append({int(j): sides[j][rng.integers(3)] for j in sorted(used)})
    curves = {}
    if draw(st.booleans()):
        curves = {0: lambda x: np.column_stack([np.nan_to_num(x), np.isnan(x)]).astype(float),
                  2: lambda x: np.column_stack([x == 1, x]).astype(float)}  # fmt: skip
    values = rng.normal(size=(len(leaves), 2))
    boxes = boxes_of(leaves, values, 0.5, codes=4, missing=missing, curves=curves)
    limits = [len(columns[0].bins) + 2, len(columns[1].bins) + 2, 4]
    codes = np.array([rng.integers(limit) for limit in limits])
    return columns, boxes, codes, draw(st.sampled_from([0.3, 0.75, 1.3, 5.0]))


@settings(deadline=None, max_examples=80, derandomize=True)
@given(models())
def test_equal_to_the_sum_over_all_cells(model):
    columns, boxes, codes, width = model
    laws = bin_laws(columns, boxes)
    found = exact_bins(boxes, laws).moments(codes, width, [0, 1])
    covariance, mean, variance, expected = by_cells(boxes, laws, codes, width)
    assert found.expected == pytest.approx(expected, abs=1e-12)
    assert found.mean == pytest.approx(mean, abs=1e-12)
    assert found.variance == pytest.approx(variance, abs=1e-12)
    assert found.undefined.tolist() == (variance < 1e-15).tolist()
    covariance[found.undefined] = 0.0
    assert found.beta * found.variance[:, None] == pytest.approx(covariance, abs=1e-12)


# The limit of the draws


def deviation(z, weights, outputs, beta):
    """How many standard errors a regression on samples is from `beta`, `float[n_features]`."""
    samples = WeightedSamples(z, weights)
    _, coefficients = Target(samples, outputs).ridge(np.arange(len(z)), 1.0)
    centred = z - samples.means[:, None]
    mean = weights @ outputs / weights.sum()
    left = outputs - mean - coefficients @ centred
    errors = np.sqrt(((weights * left) ** 2 * centred**2).sum(axis=1))
    errors /= (weights * centred**2).sum(axis=1)
    return np.abs(coefficients - beta) / errors


@pytest.fixture(scope="module", params=["iris", "breast cancer", "diabetes"])
def forest(request):
    """Columns of a data set, a model fitted to it, a label and a row to explain."""
    if request.param == "iris":
        x, y = load_iris(return_X_y=True)
        return x, RandomForestClassifier(20, random_state=0).fit(x, y), 1, x[60]
    if request.param == "breast cancer":
        x, y = load_breast_cancer(return_X_y=True)
        return x, ExtraTreesClassifier(8, random_state=0).fit(x, y), 0, x[100]
    x, y = load_diabetes(return_X_y=True)
    return x, GradientBoostingRegressor(n_estimators=30, random_state=0).fit(x, y), 0, x[7]


def leaves_of(model):
    if isinstance(model, GradientBoostingRegressor):
        trees = [tree.tree_ for tree in model.estimators_.ravel()]
        return boxes_of_trees(trees, model.learning_rate, probabilities=False)
    trees = [tree.tree_ for tree in model.estimators_]
    return boxes_of_trees(trees, 1 / len(trees), probabilities=True)


def outputs_of(model, rows, label):
    if hasattr(model, "predict_proba"):
        return model.predict_proba(rows)[:, label]
    return model.predict(rows)


def keep_values_of_narrow_bins(rows, codes, columns):
    """What every sampler but lime's own does."""
    for j, column in enumerate(columns):
        for b, (low, high) in enumerate(zip(column.mins, column.maxs, strict=True)):
            if low == high:
                rows[codes[j] == b, j] = low


def test_samples_in_bins_tend_to_it(forest):
    x, model, label, row = forest
    columns = [numbers(column) for column in x.T]
    space, boxes = TabularSpace(columns), leaves_of(model)
    width = 0.75 * len(columns) ** 0.5
    codes = space.codes(row[None])[0]
    moments = exact_bins(boxes, bin_laws(columns, boxes)).moments(codes, width, [label])
    draws = draw_bins(generator(1), space, 1 << 18)
    rows, drawn = draws.rows[1:], draws.codes[:, 1:]
    keep_values_of_narrow_bins(rows, drawn, columns)
    z = space.matches(drawn, codes)
    weights = kernel(np.sqrt((~z).sum(axis=0)), width)
    outputs = outputs_of(model, rows, label)
    assert deviation(z, weights, outputs, moments.beta[:, 0]).max() < 5


@pytest.mark.parametrize("around", [False, True])
def test_undiscretised_samples_tend_to_it(forest, around):
    x, model, label, row = forest
    columns = [numbers(column, "none") for column in x.T]
    space, boxes = TabularSpace(columns), leaves_of(model)
    width = 0.75 * len(columns) ** 0.5
    laws = normal_laws(columns, boxes)
    moments = exact_normals(boxes, laws, around).moments(row, width, [label])
    rows = draw_normals(generator(2), space, 1 << 18, row if around else None).rows
    z = ((rows - space.means) / space.scales).T
    first = (row - space.means) / space.scales
    weights = kernel(np.sqrt(((z - first[:, None]) ** 2).sum(axis=0)), width)
    outputs = outputs_of(model, rows, label)
    assert deviation(z, weights, outputs, moments.beta[:, 0]).max() < 5


# Closed forms

WIDE = np.random.default_rng(5).normal(3, 2, 400)


def affine(slope, offset=0.0):
    return lambda x: (offset + slope * x)[:, None]


def test_a_linear_model_in_bins():
    """beta is the slope times the distance between the bin's mean and that of all others."""
    columns = [numbers(WIDE), numbers(WIDE**3, "decile"), numbers(np.full(400, 2.0))]
    slopes = [2.0, -0.01, 5.0]
    boxes = boxes_of([], [], 4.0, curves={j: affine(slope) for j, slope in enumerate(slopes)})
    space, row = TabularSpace(columns), np.array([WIDE[7], WIDE[7] ** 3, 2.0])
    codes = space.codes(row[None])[0]
    laws = bin_laws(columns, boxes)
    found = exact_bins(boxes, laws).moments(codes, 1.3, [0])
    for j in (0, 1):
        f, means = laws.frequencies[j], laws.curves[j][:, 0]
        others = np.arange(len(f)) != codes[j]
        expected = means[codes[j]] - f[others] @ means[others] / f[others].sum()
        assert found.beta[j] == pytest.approx([expected], rel=1e-9)
    assert found.beta[2] == 0
    assert found.undefined.tolist() == [False, False, True]


@pytest.mark.parametrize("around", [False, True])
def test_a_linear_model_undiscretised_is_its_own_surrogate(around):
    columns = [numbers(WIDE, "none"), numbers(1e6 * WIDE**2, "none")]
    boxes = boxes_of([], [], 1.0, curves={0: affine(2.0, 7.0), 1: affine(-3e-6)})
    row = np.array([1.5, 9e6])
    first = (row - [c.mean for c in columns]) / [c.scale for c in columns]
    laws = normal_laws(columns, boxes)
    moments = exact_normals(boxes, laws, around).moments(row, 1.1, [0])
    slopes = [2.0 * columns[0].scale, -3e-6 * columns[1].scale]
    assert moments.beta.ravel() == pytest.approx(slopes, rel=1e-12)
    assert moments.variance == pytest.approx(1.1**2 / (1 + 1.1**2))
    assert moments.mean == pytest.approx(first * (1.0 if around else 1 / (1 + 1.1**2)))
    found = exact_fit(moments, 0, first, "none", 2)
    assert found.local_prediction == pytest.approx(8.0 + 2.0 * 1.5 - 3e-6 * 9e6, rel=1e-12)


def test_a_box_and_a_curve_undiscretised():
    """Against integrals over the tilted normals, with a category beside them."""
    columns = [numbers(WIDE, "none"), categories(0.3, 0.6, 0.1), numbers(WIDE, "none")]
    leaves = [{0: (1.0, 3.5), 1: frozenset([0, 2])}, {0: (2.0, INF), 2: (-INF, 4.0)}]
    boxes = boxes_of(leaves, [2.0, -1.0], codes=3, curves={0: lambda x: np.exp(x / 4)[:, None]})
    row, w = np.array([5.0, 2.0, 0.0]), 1.2
    found = exact_normals(boxes, normal_laws(columns, boxes), False).moments(row, w, [0])
    v = w**2 / (1 + w**2)
    laws = [norm((row[j] - c.mean) / c.scale / (1 + w**2), v**0.5)
            for j, c in enumerate(columns)]  # fmt: skip

    def integral(g, j):
        cuts = [(x - columns[j].mean) / columns[j].scale for x in (1.0, 2.0, 3.5, 4.0)]
        return quad(
            lambda s: g(columns[j].mean + columns[j].scale * s, s) * laws[j].pdf(s),
            laws[j].mean() - 9, laws[j].mean() + 9, points=cuts, epsabs=1e-12, limit=200,
        )[0]  # fmt: skip

    f = np.array([0.3, 0.6, 0.1]) * np.where(np.arange(3) == 2, 1, np.exp(-1 / (2 * w**2)))
    f /= f.sum()
    inside, below = f[0] + f[2], integral(lambda x, s: x <= 4.0, 2)

    def part(x):
        return 2 * inside * (1 < x <= 3.5) - below * (x > 2) + np.exp(x / 4)

    m = laws[0].mean()
    beta = integral(lambda x, s: part(x) * (s - m), 0) / v
    assert found.expected == pytest.approx([integral(lambda x, s: part(x), 0)], abs=1e-9)
    assert found.beta[0] == pytest.approx([beta], abs=1e-8)
    first_box = 2 * integral(lambda x, s: 1 < x <= 3.5, 0)
    assert found.beta[1] == pytest.approx([first_box * (1 - 0.3 / 0.9)], abs=1e-9)
    assert found.mean[1] == pytest.approx(f[2])
    assert found.variance[1] == pytest.approx(f[2] * (1 - f[2]))


def test_an_exclusive_or_weighs_nothing():
    """Where both columns are as often 1 as not, either alone says nothing: 0, not rounding."""
    rho = np.exp(-1 / (2 * 1.7**2))
    even = categories(1 / (1 + rho), rho / (1 + rho))  # under the kernel, seen from code 1
    zero, one = frozenset([0]), frozenset([1])
    leaves = [{0: zero, 1: one}, {0: one, 1: zero}, {0: zero, 1: zero}, {0: one, 1: one}]
    boxes = boxes_of(leaves, [0.7, 0.7, 0.1, 0.1], codes=2)
    exact = exact_bins(boxes, bin_laws([even, even], boxes))
    moments = exact.moments(np.array([1, 1]), 1.7, [0])
    assert moments.mean == pytest.approx([0.5, 0.5])
    found = exact_fit(moments, 0, np.ones(2), "none", 2)
    assert found.intercept == pytest.approx(0.4)
    assert [w.weight for w in found.weights] == [0.0, 0.0]
    assert [w.sign_probability for w in found.weights] == [None, None]
    assert [w.ranks for w in found.weights] == [(1, 2), (1, 2)]


def test_a_column_that_only_splits_equal_leaves_weighs_nothing():
    columns = [numbers(WIDE), numbers(WIDE**2)]
    cuts = [-INF, 1.1, 2.3, 3.7, INF]
    leaves = [{0: side, 1: (-INF, 9.0)} for side in itertools.pairwise(cuts)]
    boxes = boxes_of(leaves, [-1 / 3] * 4)
    for exact, row in (
        (exact_bins(boxes, bin_laws(columns, boxes)), np.array([1, 2])),
        (exact_normals(boxes, normal_laws(columns, boxes), False), np.array([0.5, 8.0])),
    ):
        found = exact.moments(row, 1.1, [0]).beta.ravel()
        assert found[0] == 0.0
        assert abs(found[1]) > 0.01


# Unusual columns


def test_a_category_that_the_background_lacks_has_no_weight():
    columns = [categories(0.5, 0.5, 0.0), numbers(WIDE)]
    leaves = [{0: frozenset([1]), 1: (3.0, INF)}, {0: frozenset([2])}]
    boxes = boxes_of(leaves, [1.0, 9.0], codes=3)
    laws = bin_laws(columns, boxes)
    exact = exact_bins(boxes, laws)
    for unseen in (2, 3, 77):
        found = exact.moments(np.array([unseen, 0]), 1.0, [0])
        assert found.undefined.tolist() == [True, False]
        assert found.beta[0] == found.mean[0] == found.variance[0] == 0
        mean = laws.masses[1][0]
        others = laws.frequencies[1][1:] / laws.frequencies[1][1:].sum()
        assert found.beta[1] == pytest.approx([0.5 * (mean[0] - others @ mean[1:])])


def test_a_rare_category_has_the_weight_of_a_common_one():
    boxes = boxes_of([{0: frozenset([1])}], [0.5], codes=2)
    for share in (1e-9, 1e-4, 0.5):
        laws = bin_laws([categories(1 - share, share)], boxes)
        found = exact_bins(boxes, laws).moments(np.array([1]), 0.75, [0])
        assert found.beta == pytest.approx(0.5)
        assert found.variance == pytest.approx(found.mean * (1 - found.mean))


@pytest.mark.parametrize("width", [1e-3, 0.02, 1e8])
def test_extreme_kernels(width):
    """The narrowest leaves only rows that differ in one column, the widest is no kernel at all."""
    columns = [categories(0.2, 0.3, 0.5), categories(0.6, 0.4)]
    boxes = boxes_of([{0: frozenset([0]), 1: frozenset([1])}], [1.0], codes=3)
    found = exact_bins(boxes, bin_laws(columns, boxes)).moments(np.array([0, 1]), width, [0])
    expected = [1.0, 1.0] if width < 1 else [0.4, 0.2]
    assert found.beta.ravel() == pytest.approx(expected)
    assert not found.undefined.any()
    assert np.isfinite(found.expected).all()


def test_sides_without_any_mass():
    """One or two impossible sides: the leaf is never reached."""
    columns = [categories(0.4, 0.6, 0.0)] * 3
    gone, some = frozenset([2]), frozenset([0])
    leaves = [{0: gone, 1: some}, {0: gone, 1: gone, 2: some}, {2: some}]
    boxes = boxes_of(leaves, [5.0, 7.0, 1.0], codes=3)
    found = exact_bins(boxes, bin_laws(columns, boxes)).moments(np.zeros(3, int), 1.0, [0])
    assert found.beta.ravel() == pytest.approx([0, 0, 1])


def test_a_narrow_kernel_far_from_every_leaf():
    """A side that only other bins touch has a share like the kernel: 1e-93 here."""
    columns = [categories(0.5, 0.5), categories(0.5, 0.5)]
    boxes = boxes_of([{0: frozenset([1]), 1: frozenset([0])}], [1.0], codes=2)
    found = exact_bins(boxes, bin_laws(columns, boxes)).moments(np.array([0, 0]), 0.0483, [0])
    assert found.expected[0] < 1e-90
    assert found.beta.ravel() == pytest.approx([-1.0, 0.0])


def test_large_outputs_keep_their_digits():
    columns = [numbers(WIDE), numbers(WIDE**2)]
    leaves = [{0: (2.0, 4.0), 1: (-INF, 9.0)}, {0: (2.0, 4.0), 1: (9.0, INF)}]
    small = boxes_of(leaves, [1.0, -2.0])
    large = boxes_of(leaves, [1e300, -2e300], 1e300)
    codes = np.array([1, 1])
    for method in METHODS:
        weights = [
            dict(exact_fit(exact.moments(codes, 1.0, [0]), 0, np.ones(2), method, 1).pairs)
            for exact in (exact_bins(boxes, bin_laws(columns, boxes)) for boxes in (small, large))
        ]
        expected = {j: 1e300 * weight for j, weight in weights[0].items()}
        assert weights[1] == pytest.approx(expected, rel=1e-12)


def test_a_model_that_says_nothing():
    columns = [numbers(WIDE)]
    for boxes in (boxes_of([], [], 3.0), boxes_of([{0: (1, 2)}], [0.0], 3.0)):
        exact = exact_bins(boxes, bin_laws(columns, boxes))
        found = exact_fit(exact.moments(np.array([1]), 1.0, [0]), 0, np.ones(1), "none", 1)
        assert (found.intercept, found.local_prediction) == (3.0, 3.0)
        assert found.pairs == ((0, 0.0),)


# Batches


def test_rows_and_labels_together_are_as_one_by_one():
    x, y = load_iris(return_X_y=True)
    columns = [numbers(column) for column in x.T]
    boxes = leaves_of(RandomForestClassifier(5, random_state=0).fit(x, y))
    exact = exact_bins(boxes, bin_laws(columns, boxes))
    undiscretised = exact_normals(boxes, normal_laws(columns, boxes), False)
    codes = TabularSpace(columns).codes(x)
    for engine, rows in ((exact, codes), (undiscretised, x)):
        both = engine.many(rows, 1.5, [2, 0])
        assert len(both) == len(x)
        for i in (0, 31, 32, 149):
            for place, label in enumerate((2, 0)):
                alone = engine.moments(rows[i], 1.5, [label])
                assert both[i].labels[place] == label
                assert both[i].beta[:, place] == pytest.approx(alone.beta[:, 0], abs=1e-14)
                assert both[i].expected[place] == pytest.approx(alone.expected[0], abs=1e-14)


def test_every_width_has_its_own_weights():
    columns = [numbers(WIDE), numbers(WIDE**2)]
    boxes = boxes_of([{0: (2.0, 4.0), 1: (-INF, 9.0)}], [1.0])
    laws = bin_laws(columns, boxes)
    exact = exact_bins(boxes, laws)
    for width in (0.5, 2.0, 0.5):
        again = exact_bins(boxes, laws).moments(np.array([1, 1]), width, [0])
        assert (exact.moments(np.array([1, 1]), width, [0]).beta == again.beta).all()


# The surrogate


def independent(seed, d):
    """All 0/1 vectors with weights under which they are independent, and random outputs."""
    rng = np.random.default_rng(seed)
    z = np.array(list(itertools.product([1.0, 0.0], repeat=d))).T
    p = rng.uniform(0.1, 0.9, d)[:, None]
    weights = np.where(z == 1, p, 1 - p).prod(axis=0)
    outputs = rng.normal(size=d) @ z + 0.3 * rng.normal(size=2**d)
    centred = z - p
    beta = (centred * weights) @ outputs / (p * (1 - p))[:, 0]
    moments = Moments(
        (4,), beta[:, None], p[:, 0], (p * (1 - p))[:, 0], np.array([weights @ outputs]),
        np.zeros(d, np.bool_),
    )  # fmt: skip
    return WeightedSamples(z, 1e12 * weights), outputs, moments


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    d=st.integers(1, 6),
    k=st.integers(1, 8),
    method=st.sampled_from(METHODS),
)
def test_features_and_weights_are_those_of_lime_without_shrinkage(seed, d, k, method):
    samples, outputs, moments = independent(seed, d)
    first = np.random.default_rng(seed).uniform(-2, 2, d)
    target = Target(samples, outputs)
    features = select(target, first, method, k)
    intercept, weights = target.ridge(features, 1.0)
    found = exact_fit(moments, 4, first, method, k)
    assert dict(found.pairs) == pytest.approx(
        dict(zip(features.tolist(), weights.tolist(), strict=True)), abs=1e-9
    )
    sizes = [abs(weight) for _, weight in found.pairs]
    assert sizes == sorted(sizes, reverse=True)
    assert found.intercept == pytest.approx(intercept, abs=1e-9)
    assert found.local_prediction == pytest.approx(intercept + first[features] @ weights, abs=1e-9)


def given_weights(*beta, variance=None):
    d = len(beta)
    variance = np.full(d, 0.25) if variance is None else np.array(variance)
    return Moments(
        (0,), np.array(beta, float)[:, None], np.full(d, 0.5), variance, np.zeros(1),
        np.zeros(d, np.bool_),
    )  # fmt: skip


def test_forward_selection_and_highest_weights_can_differ():
    """A rare category with a large weight moves little."""
    moments = given_weights(0.5, 0.3, variance=[0.03, 0.25])
    chosen = {m: exact_fit(moments, 0, np.ones(2), m, 1).pairs[0][0] for m in METHODS[1:]}
    assert chosen == {"forward_selection": 1, "highest_weights": 0, "lasso_path": 1}


def test_exact_weights_are_certain():
    found = exact_fit(given_weights(0.1, -0.4, 0.0, 0.2), 0, np.ones(4), "none", 2)
    assert found.pairs == ((1, -0.4), (3, 0.2), (0, 0.1), (2, 0.0))
    assert all(w.low == w.high == w.weight for w in found.weights)
    assert [w.sign_probability for w in found.weights] == [1.0, 1.0, 1.0, None]
    assert [w.top_probability for w in found.weights] == [1.0, 1.0, 0.0, 0.0]
    assert [w.ranks for w in found.weights] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert (found.interval, found.stability, found.r2) == ("exact", 1.0, None)


def test_equal_weights_share_their_ranks():
    """As do those that only rounding tells apart; which of them is listed is arbitrary."""
    moments = given_weights(0.2, 0.3, -0.2 - 1e-15, 0.2 + 2e-15, 0.1)
    found = exact_fit(moments, 0, np.ones(5), "none", 3)
    assert [j for j, _ in found.pairs] == [1, 0, 2, 3, 4]
    assert [w.ranks for w in found.weights] == [(1, 1), (2, 4), (2, 4), (2, 4), (5, 5)]
    tops = [w.top_probability for w in found.weights]
    assert tops == pytest.approx([1, 2 / 3, 2 / 3, 2 / 3, 0])
    chosen = exact_fit(moments, 0, np.ones(5), "highest_weights", 3)
    assert [j for j, _ in chosen.pairs] == [1, 0, 2]


def test_a_constant_model_has_no_order():
    for method in METHODS:
        found = exact_fit(given_weights(0.0, 0.0, 0.0), 0, np.ones(3), method, 2)
        features = [j for j, _ in found.pairs]
        assert features == ([0, 1] if method in METHODS[1:3] else [0, 1, 2])
        assert {w.ranks for w in found.weights} == {(1, len(features))}
