"""Cases for the engines: data, models and settings to draw from, and what "the same" means.

`LIMECLI_EXAMPLES=2000 pytest tests/explainers` looks further than CI does, at random.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from limecli import registry
from limecli.inputs.background import background_from_table
from limecli.inputs.row_encoder import RowEncoder
from limecli.inputs.table import Table
from limecli.models.frames import decode
from limecli.types import Instance, LimeSettings, Predictor

EXACT = 1e-8
TIE = 1e-12
_EXAMPLES = os.environ.get("LIMECLI_EXAMPLES")


def searching(examples):
    """How hypothesis looks: the same examples on every run, unless more are asked for."""
    return settings(
        max_examples=int(_EXAMPLES or examples),
        derandomize=_EXAMPLES is None,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@dataclass(frozen=True)
class Expected:
    """One label's surrogate by somebody else, and the outputs that it was fitted to.

    `pairs` are (feature index, weight), strongest first; `proximity` are the kernel weights.
    """

    intercept: float
    pairs: tuple
    r2: float | None
    local: float
    outputs: np.ndarray
    proximity: np.ndarray

    @property
    def size(self):
        return float(np.abs(self.outputs).max()) or 1.0

    @property
    def tolerance(self):
        """1e-8 of the outputs' spread, the spread counting as 1e-4 of their size at least."""
        return EXACT * max(float(np.ptp(self.outputs)), 1e-4 * self.size)

    @property
    def varies(self):
        """Whether R² is more than the quotient of two rounding errors."""
        mean = np.average(self.outputs, weights=self.proximity)
        variance = np.average((self.outputs - mean) ** 2, weights=self.proximity)
        return variance**0.5 > 1e-6 * self.size


def assert_same(surrogate, expected):
    """The same numbers, within `expected.tolerance`, and the same features in the same order.

    Features are tied when their weights' sizes lie within 1e-12 of the outputs' size: two columns
    that never vary, or that vary alike in every sample. Among tied features the order is free, and
    which of them are among the k is free. Nothing else is.
    """
    found = [(part.index, part.weight) for part in surrogate.attributions]
    assert [part.rank for part in surrogate.attributions] == list(range(1, len(found) + 1))
    assert len(found) == len(expected.pairs)
    assert len({j for j, _ in found}) == len(found)
    theirs, ours = dict(expected.pairs), dict(found)
    for (j, weight), (i, other) in zip(found, expected.pairs, strict=True):
        assert abs(abs(weight) - abs(other)) <= expected.tolerance, (found, expected.pairs)
        if i != j:
            tie = TIE * expected.size
            assert abs(abs(theirs.get(j, other)) - abs(other)) <= tie, (found, expected.pairs)
            assert abs(abs(ours.get(i, weight)) - abs(weight)) <= tie, (found, expected.pairs)
    for j in ours.keys() & theirs.keys():
        assert abs(ours[j] - theirs[j]) <= expected.tolerance, (j, found, expected.pairs)
    assert abs(surrogate.intercept - expected.intercept) <= expected.tolerance
    assert abs(surrogate.local_prediction - expected.local) <= expected.tolerance
    assert abs(surrogate.model_prediction - expected.outputs[0]) <= expected.tolerance
    if np.ptp(expected.outputs) == 0 or expected.r2 is None:
        assert surrogate.r2_fit is None
    elif expected.varies:
        assert surrogate.r2_fit is not None
        assert abs(surrogate.r2_fit - expected.r2) <= EXACT


def expected_of(explanation, explainer, label, recorded):
    """What lime's own explanation of one label says. lime keeps a regression's signs under 1."""
    outputs, proximity = recorded
    key = 1 if getattr(explainer, "mode", None) == "regression" else label
    return Expected(
        float(explanation.intercept[key]),
        tuple((int(j), float(weight)) for j, weight in explanation.local_exp[key]),
        float(explanation.score),
        float(np.ravel(explanation.local_pred)[0]),
        outputs if outputs.ndim == 1 else outputs[:, label],
        proximity,
    )


def run_lime(explainer, instance, predict_fn, label, **arguments):
    """One label by a fresh lime explainer, its outputs and kernel weights looked at in passing."""
    outputs, proximity = [], []
    kernel = explainer.base.kernel_fn

    def looked_at(batch):
        outputs.append(predict_fn(batch))
        return outputs[-1]

    def weighed(distances):
        proximity.append(kernel(distances))
        return proximity[-1]

    explainer.base.kernel_fn = weighed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of singular systems and short lasso paths
        found = explainer.explain_instance(instance, looked_at, labels=(label,), **arguments)
    return expected_of(found, explainer, label, (np.concatenate(outputs), proximity[0]))


def build(engine, predictor, lime_settings, background=None):
    """An engine's explainer."""
    factory = registry.load(registry.EXPLAINERS, f"{engine}-{lime_settings.kind}")
    return factory(predictor, background, lime_settings, lambda count: None)


def explain(engine, predictor, instances, lime_settings, background=None):
    """What an engine makes of instances."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explainer = build(engine, predictor, lime_settings, background)
        return list(explainer.explain(instances))


def predictor_of(predict_fn, task="classification", outputs=2):
    """A plain function as a Predictor."""
    names = tuple(f"class {c}" for c in range(outputs)) if task == "classification" else ("y",)
    return Predictor(predict_fn, task, names, "model", None, "function", "function")


def wanted_labels(lime_settings, first, task):
    """The labels that settings ask for; `first` is the model's answer for the instance."""
    if task == "regression":
        return {0}
    if lime_settings.labels:
        return set(lime_settings.labels)
    return set(np.argsort(-first, kind="stable")[: lime_settings.top_labels].tolist())


# Tables


COMPLETE = ("normal", "integers", "ties", "constant", "zero", "tenth", "binary", "skewed", "offset",
            "tiny", "copy", "category", "one category", "rare category",
            "category gaps")  # fmt: skip
WITH_GAPS = (*COMPLETE, "gaps", "gaps", "mostly gaps", "nothing")
CLASSIFIERS = ("constant", "linear", "one column", "steps", "tree", "forest", "exclusive or")
REGRESSORS = ("constant", "linear", "one column", "steps", "tree")


def _with_gaps(share, cells, rng):
    gaps = rng.random(len(cells)) < share
    return [None if gap else cell for cell, gap in zip(cells, gaps, strict=True)]


def _column(kind, n, rng, columns):
    if kind == "copy" and columns:
        return list(columns[0])
    if kind == "category":
        levels = int(rng.integers(2, 6))
        return list(rng.choice(list("edcba")[:levels], n, p=rng.dirichlet(np.ones(levels))))
    if kind == "one category":
        return ["a"] * n
    if kind == "rare category":
        return ["b", *["a"] * (n - 1)]
    if kind == "category gaps":
        return _with_gaps(0.3, [str(c) for c in rng.choice(["x", "y"], n)], rng)
    if kind in ("gaps", "mostly gaps", "nothing"):
        share = {"gaps": 0.2, "mostly gaps": 0.9, "nothing": 1.0}[kind]
        return _with_gaps(share, [float(x) for x in rng.normal(size=n)], rng)
    numbers = {
        "integers": lambda: rng.integers(-3, 9, n),
        "ties": lambda: np.where(rng.random(n) < 0.7, 2.5, rng.normal(size=n)),
        "constant": lambda: np.full(n, 3.0),
        "zero": lambda: np.zeros(n),
        "tenth": lambda: np.full(n, 0.1),  # whose mean is not 0.1 in binary
        "binary": lambda: rng.integers(0, 2, n),
        "skewed": lambda: np.exp(2 * rng.normal(size=n)),
        "offset": lambda: 1e6 + rng.normal(size=n),
        "tiny": lambda: 1e-9 * rng.normal(size=n),
    }
    drawn = numbers.get(kind, lambda: rng.normal(size=n))()
    return [float(x) for x in drawn]


@dataclass(frozen=True)
class TableCase:
    """Training data, a model on its codes, and what to explain how. Small enough to be read."""

    kinds: tuple[str, ...]
    n: int
    data_seed: int
    model: str
    task: str
    outputs: int
    scale: float
    offset: float
    rows: tuple[int, ...]
    settings: LimeSettings
    far: bool = False

    @cached_property
    def frame(self):
        rng, columns = np.random.default_rng(self.data_seed), []
        for kind in self.kinds:
            columns.append(_column(kind, self.n, rng, columns))
        return pd.DataFrame(
            {f"c{j}": pd.Series(cells, dtype=object) for j, cells in enumerate(columns)}
        )

    @cached_property
    def target(self):
        rng = np.random.default_rng(self.data_seed + 1)
        return [str(c) for c in rng.integers(0, max(2, min(self.outputs, 4)), self.n)]

    @cached_property
    def categories(self):
        """Column number -> its values in lime's code order: sorted, missing last."""
        found = {}
        for j, name in enumerate(self.frame):
            cells = list(self.frame[name])
            if any(isinstance(cell, str) for cell in cells):
                present = sorted({cell for cell in cells if cell is not None})
                found[j] = [*present, None] if None in cells else present
        return found

    @cached_property
    def codes(self):
        """`float[n, n_features]`, as one would prepare it for lime."""
        codes = np.empty(self.frame.shape)
        for j, name in enumerate(self.frame):
            cells = self.frame[name]
            if j in self.categories:
                codes[:, j] = [self.categories[j].index(cell) for cell in cells]
            else:
                codes[:, j] = [np.nan if cell is None else cell for cell in cells]
        return codes

    @cached_property
    def explained(self):
        """`float[rows, n_features]`: rows of the data, or such as lie outside it: numbers further
        off, and in every second column of categories one that never occurs there."""
        rows = self.codes[list(self.rows)].copy()
        if self.far:
            numbers = [j for j in range(rows.shape[1]) if j not in self.categories]
            mean, std = (part[numbers] for part in _spread(self.codes))
            # Beyond, the rounding of scaled numbers decides, in lime as here.
            off = np.clip((rows[:, numbers] * 3.0 + 1.5 - mean) / std, -1e4, 1e4)
            rows[:, numbers] = mean + off * std
            for j in list(self.categories)[::2]:
                rows[:, j] = len(self.categories[j])
        return rows

    @cached_property
    def table(self):
        return Table("train.csv", "0" * 64, self.frame.assign(target=self.target), untyped=False)

    @cached_property
    def _encoded(self):
        background = background_from_table(
            self.table, list(self.frame), self.settings.discretizer, target="target"
        )
        known = tuple(
            column if column.continuous
            else replace(column, categories=(*column.categories, "never seen"))
            for column in background.columns
        )  # fmt: skip
        raw = decode(self.explained, known).astype(object)
        table = Table("rows.csv", "0" * 64, raw.where(raw.notna(), None), untyped=False)
        encoder = RowEncoder(background)
        instances = [encoder.encode(table, i, str(i)) for i in range(len(table))]
        return instances, replace(background, columns=encoder.columns)

    @property
    def instances(self):
        return self._encoded[0]

    @property
    def background(self):
        """With the categories met in the rows, as the command makes it."""
        return self._encoded[1]

    @cached_property
    def predict_fn(self):
        """`float[n, n_features]` of codes -> `float[n, n_outputs]`, row by row."""
        rng = np.random.default_rng(self.data_seed + 2)
        if self.task == "regression":
            return _regressor(self.model, self.codes, rng, self.scale, self.offset)
        return _classifier(self.model, self.codes, rng, self.outputs)

    @cached_property
    def predictor(self):
        return predictor_of(self.predict_fn, self.task, self.outputs)


def _spread(codes):
    """Mean and standard deviation of each column, 1 where it does not vary."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # columns of nothing but missing values
        mean, std = np.nan_to_num(np.nanmean(codes, axis=0)), np.nan_to_num(np.nanstd(codes, 0))
    return mean, np.where(std > 0, std, 1.0)


def _standardised(codes):
    mean, std = _spread(codes)
    return lambda x: np.nan_to_num((x - mean) / std, nan=-1.7)


def _sums(x, weights):
    # Column by column: a matrix product rounds differently in batches of another size.
    total = np.zeros((len(x), weights.shape[1]))
    for j in range(x.shape[1]):
        total += x[:, j : j + 1] * weights[j]
    return total


def _raw_scores(kind, codes, rng, outputs):
    scaled, d = _standardised(codes), codes.shape[1]
    weights = rng.normal(size=(d, outputs))
    if kind == "constant":
        level = rng.normal(size=outputs)
        return lambda x: np.tile(level, (len(x), 1))
    if kind == "one column":
        weights[np.arange(d) != rng.integers(d)] = 0.0
    if kind == "exclusive or":
        first, second = rng.integers(d, size=2)
        return lambda x: np.where((scaled(x)[:, [first]] > 0) ^ (scaled(x)[:, [second]] > 0),
                                  weights[0], -weights[0])  # fmt: skip
    if kind == "steps":
        edges = np.nan_to_num(codes[rng.integers(len(codes), size=d), np.arange(d)])
        return lambda x: _sums((x > edges).astype(float), weights)
    return lambda x: _sums(scaled(x), weights)


def _classifier(kind, codes, rng, outputs):
    if kind == "boosting" and np.isnan(codes).all(axis=0).any():
        kind = "linear"  # it cannot bin a column of nothing
    if kind in ("tree", "forest", "boosting"):
        target = rng.integers(0, outputs, len(codes))
        target[: min(outputs, len(codes))] = np.arange(outputs)[: len(codes)]
        model = {
            "tree": DecisionTreeClassifier(max_depth=4, random_state=0),
            "forest": RandomForestClassifier(5, max_depth=4, random_state=0),
            "boosting": HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=2),
        }[kind].fit(codes, target)
        if len(model.classes_) == outputs:
            return model.predict_proba
        kind = "linear"
    scores = _raw_scores(kind, codes, rng, outputs)

    def predict_fn(x):
        shifted = scores(x)
        shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)

    return predict_fn


def _regressor(kind, codes, rng, scale, offset):
    if kind == "tree":
        target = scale * (rng.normal(size=len(codes)) + offset)
        tree = DecisionTreeRegressor(max_depth=4, random_state=0).fit(codes, target)
        return lambda x: tree.predict(x)[:, None]
    scores = _raw_scores(kind, codes, rng, 1)
    return lambda x: scale * (scores(x) + offset)


@st.composite
def tabular_settings(draw, d, outputs, discretizers=("quartile", "decile", "entropy", "none")):
    discretizer = draw(st.sampled_from(discretizers))
    labels = draw(st.lists(st.integers(0, outputs - 1), max_size=2, unique=True))
    return LimeSettings(
        kind="tabular",
        num_samples=draw(st.sampled_from([10, 11, 30, 100, 400])),
        num_features=draw(st.integers(1, d + 3)),
        kernel_width=draw(st.sampled_from([None, None, 0.3, 1.0, 5.0, 100.0])),
        distance_metric=draw(st.sampled_from(["euclidean", "euclidean", "cosine", "manhattan"])),
        feature_selection=draw(
            st.sampled_from(["auto", "none", "forward_selection", "highest_weights", "lasso_path"])
        ),
        seed=draw(st.integers(0, 2**32 - 1)),
        labels=tuple(labels),
        top_labels=draw(st.integers(1, min(outputs, 3))),
        discretizer=discretizer,
        sample_around_instance=(draw(st.booleans()) or None) if discretizer == "none" else None,
    )


@st.composite
def tables(draw, kinds=COMPLETE, classifiers=CLASSIFIERS, discretizers=None, rows=1):
    """Tables of 5 to 200 rows and 1 to 12 columns with a model and settings."""
    columns = tuple(draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=12)))
    n = draw(st.sampled_from([5, 6, 20, 60, 200]))
    task = draw(st.sampled_from(["classification", "classification", "regression"]))
    outputs = 1 if task == "regression" else draw(st.integers(2, 5))
    extra = {} if discretizers is None else {"discretizers": discretizers}
    return TableCase(
        columns,
        n,
        draw(st.integers(0, 10_000)),
        draw(st.sampled_from(REGRESSORS if task == "regression" else classifiers)),
        task,
        outputs,
        draw(st.sampled_from([1.0, 1e-6, 1e9])) if task == "regression" else 1.0,
        draw(st.sampled_from([0.0, 100.0])) if task == "regression" else 0.0,
        tuple(draw(st.lists(st.integers(0, n - 1), min_size=rows, max_size=rows))),
        draw(tabular_settings(len(columns), outputs, **extra)),
        draw(st.booleans()),
    )


# Pictures


@dataclass(frozen=True)
class PictureCase:
    """A random picture cut up at random, and a model of pictures."""

    height: int
    width: int
    ids: tuple[int, ...]
    seed: int
    flat: bool
    model: str
    outputs: int
    settings: LimeSettings

    @cached_property
    def image(self):
        rng = np.random.default_rng(self.seed)
        levels = (100, 103) if self.flat else (0, 256)
        return rng.integers(*levels, (self.height, self.width, 3)).astype(np.uint8)

    @cached_property
    def segments(self):
        """Every id in use, in patches of any form."""
        rng = np.random.default_rng(self.seed + 1)
        flat = rng.choice(self.ids, self.height * self.width)
        flat[rng.permutation(flat.size)[: len(self.ids)]] = self.ids
        return flat.reshape(self.height, self.width).astype(np.int64)

    @property
    def dense(self):
        """Segments numbered 0..n-1, as lime takes for granted."""
        return np.unique(self.segments, return_inverse=True)[1].reshape(self.segments.shape)

    @property
    def instance(self):
        return Instance("0", 0, "image", self.image, "0" * 64, None, (), self.segments)

    @cached_property
    def predict_fn(self):
        rng = np.random.default_rng(self.seed + 2)
        return picture_model(self.model, self.image.shape, self.outputs, rng)

    @property
    def predictor(self):
        return predictor_of(self.predict_fn, "classification", self.outputs)

    @property
    def color(self):
        found = self.settings.hide_color
        return None if found in (None, "mean") else tuple(bytes.fromhex(found[1:]))


def picture_model(kind, shape, outputs, rng):
    """`uint8[n, h, w, 3]` -> `float[n, outputs]`, row by row."""
    weights = rng.normal(size=(outputs, *shape)) / 128

    def predict_fn(batch):
        assert batch.dtype == np.uint8
        pictures = [picture.astype(float) for picture in batch]
        if kind == "constant":
            pictures = [np.zeros(shape)] * len(batch)
        if kind == "steps":
            pictures = [128.0 * (picture > 127) for picture in pictures]
        scores = np.array([[float((picture * w).sum()) for w in weights] for picture in pictures])
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)

    return predict_fn


@st.composite
def pictures(draw):
    """Pictures of 2 x 2 to 23 x 23 with 2 to 12 segments of any ids."""
    height, width = draw(st.integers(2, 23)), draw(st.integers(2, 23))
    count = draw(st.integers(2, min(12, height * width)))
    ids = draw(st.lists(st.integers(-5, 1000), min_size=count, max_size=count, unique=True))
    outputs = draw(st.integers(2, 4))
    return PictureCase(
        height,
        width,
        tuple(ids),
        draw(st.integers(0, 10_000)),
        draw(st.booleans()),
        draw(st.sampled_from(["constant", "linear", "linear", "steps"])),
        outputs,
        LimeSettings(
            kind="image",
            num_samples=draw(st.sampled_from([10, 33, 64, 100])),
            num_features=draw(st.one_of(st.none(), st.integers(1, count + 3))),
            kernel_width=draw(st.sampled_from([None, None, 0.1, 1.0])),
            distance_metric=draw(st.sampled_from(["cosine", "cosine", "euclidean", "manhattan"])),
            feature_selection=draw(
                st.sampled_from(["auto", "none", "forward_selection", "highest_weights",
                                 "lasso_path"])
            ),
            seed=draw(st.integers(0, 2**32 - 1)),
            batch_size=draw(st.sampled_from([None, 1, 7])),
            top_labels=draw(st.integers(1, outputs)),
            segmentation="auto",
            hide_color=draw(st.sampled_from([None, "mean", "#000000", "#ff8001"])),
        ),
    )  # fmt: skip


# Texts


_WORDS = ("win", "Win", "free", "prize", "a", "is", "naïve", "Straße", "数据", "😀", "e\u0301",
          "it's", "word_1", "42", "x" * 30)  # fmt: skip
_GAPS = (" ", "  ", ", ", ".", "!? ", "\n", "\t", "-", "\u00a0", "'", "... ", ",a,")


@st.composite
def _texts(draw):
    if draw(st.integers(0, 3)) == 0:
        return draw(st.text(min_size=1, max_size=25))
    words = draw(st.lists(st.sampled_from(_WORDS), min_size=1, max_size=14))
    gaps = draw(st.lists(st.sampled_from(_GAPS), min_size=len(words), max_size=len(words)))
    begun = draw(st.sampled_from(["", "", " ", "¡"]))
    return begun + "".join(word + gap for word, gap in zip(words, gaps, strict=True))


@dataclass(frozen=True)
class TextCase:
    """A text and a model of texts."""

    text: str
    model: str
    outputs: int
    settings: LimeSettings

    @property
    def instance(self):
        return Instance("0", 0, "text", self.text, "0" * 64, None)

    @cached_property
    def predict_fn(self):
        return text_model(self.model, self.outputs)

    @property
    def predictor(self):
        return predictor_of(self.predict_fn, "classification", self.outputs)


def text_model(kind, outputs):
    """A list of strings -> `float[n, outputs]`, each by itself; every place counts."""

    def score(text, c):
        if kind == "constant":
            return 0.1 * c
        if kind == "word":
            return float(c * ("win" in text)) - 0.3 * text.count(" ")
        return sum(((ord(ch) * (c + 3) + i * (c + 1)) % 11 - 5) / 20 for i, ch in enumerate(text))

    def predict_fn(texts):
        assert all(type(text) is str for text in texts)
        scores = np.array([[score(text, c) for c in range(outputs)] for text in texts])
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)

    return predict_fn


@st.composite
def texts(draw):
    """Words repeated, of any script, cut up in any way that lime knows."""
    char_level, bow = draw(st.booleans()) and draw(st.booleans()), draw(st.booleans())
    outputs = draw(st.integers(2, 4))
    split = draw(st.sampled_from([r"\W+", r"\W+", r"\s+", r"[,.]", r"\s|-", r"(\s)+|(,)", "a"]))
    mask = draw(st.sampled_from([None, None, "-", "", "win", "\0"])) if not bow else None
    text = draw(_texts())
    return TextCase(
        text[:20] if char_level else text,
        draw(st.sampled_from(["constant", "word", "places", "places"])),
        outputs,
        LimeSettings(
            kind="text",
            num_samples=draw(st.sampled_from([10, 30, 150])),
            num_features=draw(st.integers(1, 16)),
            kernel_width=draw(st.sampled_from([None, None, 5.0, 100.0])),
            distance_metric=draw(st.sampled_from(["cosine", "cosine", "euclidean", "manhattan"])),
            feature_selection=draw(
                st.sampled_from(["auto", "none", "forward_selection", "highest_weights",
                                 "lasso_path"])
            ),
            seed=draw(st.integers(0, 2**32 - 1)),
            batch_size=draw(st.sampled_from([None, 1, 7])),
            top_labels=draw(st.integers(1, outputs)),
            split_expression=None if char_level else split,
            char_level=char_level,
            bow=bow,
            mask_string=mask,
        ),
    )  # fmt: skip
