"""Tables to test accuracy on: models on real data, and the limit of LIME's weights on each.

A limit is what lime's fit tends to as the samples grow in number: computed from half a million
evaluations or more by draws of this file's own, so that no code under test judges itself.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from speed import HASH, census

from limecli.inputs.background import background_from_table
from limecli.inputs.row_encoder import RowEncoder
from limecli.inputs.table import Table
from limecli.models.detect import load_model
from limecli.models.frames import bind_columns
from limecli.models.interface import LoadOptions
from limecli.models.outputs import with_class_names
from limecli.neighborhood.kernel import kernel
from limecli.neighborhood.tabular_space import TabularSpace
from limecli.types import Background, Instance, Predictor

PARTS = 16  # independent parts of a limit, whose spread is its standard error


@dataclass(frozen=True)
class Limit:
    """LIME's weights for ever more samples, `float[n_features]`, and their standard errors.

    `means`, `products` (with the outputs) and `gram` are weighted moments of z; `variance` is that
    of the outputs.
    """

    weights: np.ndarray
    errors: np.ndarray
    means: np.ndarray
    gram: np.ndarray
    products: np.ndarray
    variance: float

    def of(self, features: np.ndarray) -> np.ndarray:
        """The weights of a fit on some of the features only."""
        return _solved(self.gram[np.ix_(features, features)], self.products[features])

    @property
    def r2(self) -> float:
        """R² of the fit on all features."""
        return float(self.products @ self.weights / self.variance)


def _solved(gram: np.ndarray, products: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.lstsq(gram, products, rcond=1e-12)[0])


def limit_of(parts: Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Limit:
    """The limit from parts of (z `[n, n_features]`, weights, outputs), each drawn on its own."""
    weights, moments = [], []
    for z, w, y in parts:
        share = w / w.sum()
        means, mean = share @ z, share @ y
        centred, weighted = z - means, share * (y - mean)
        gram, products = (centred * share[:, None]).T @ centred, centred.T @ weighted
        weights.append(_solved(gram, products))
        moments.append((means, gram, products, float(weighted @ (y - mean))))
    means, gram, products, variance = (sum(x) / len(moments) for x in zip(*moments, strict=True))
    errors = np.std(weights, axis=0, ddof=1) / np.sqrt(len(weights))
    return Limit(np.mean(weights, axis=0), errors, means, gram, products, variance)


@dataclass(eq=False)
class TableBed:
    """A row of a table, explained for one label.

    `predictor` takes codes. `num_samples` is lime's default.
    """

    name: str
    predictor: Predictor
    background: Background
    instances: list[Instance]
    row: int
    label: int
    evaluations: int  # that the limit is made of
    num_samples: int = 5000

    def outputs(self, rows: np.ndarray) -> np.ndarray:
        """What the model says of the label, `float[n]`, for `float[n, n_features]` of codes."""
        parts = [self.predictor.predict_fn(rows[i : i + 65536])[:, self.label]
                 for i in range(0, len(rows), 65536)]  # fmt: skip
        return np.concatenate(parts)

    @property
    def instance(self) -> Instance:
        """The row to explain."""
        return self.instances[self.row]

    @cached_property
    def space(self) -> TabularSpace:
        """The background as draws need it."""
        return TabularSpace(self.background.columns)

    @property
    def binned(self) -> bool:
        """Whether numbers are discretised."""
        return self.background.discretizer != "none"

    @property
    def n_features(self) -> int:
        """How many columns."""
        return len(self.background.columns)

    @property
    def width(self) -> float:
        """lime's kernel width."""
        return float(np.sqrt(self.n_features) * 0.75)

    @cached_property
    def limit(self) -> Limit:
        """From scrambled Sobol points, one coordinate a column (bin and place in it together)."""
        return limit_of(self._parts())

    def _parts(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        from scipy.stats import qmc

        power = int(np.log2(self.evaluations / PARTS))
        for seed in range(PARTS):
            sobol = qmc.Sobol(self.n_features, bits=30, rng=np.random.default_rng([77, seed]))
            rows, z = self._decoded(sobol.random_base2(power) + 2.0**-31)
            squares = ((z - self._first(z)) ** 2).sum(axis=1)
            yield z, kernel(np.sqrt(squares), self.width), self.outputs(rows)

    def _first(self, z: np.ndarray) -> np.ndarray:
        """z of the row itself."""
        first = np.ones(z.shape[1])
        for j, column in enumerate(self.background.columns):
            if column.continuous and not self.binned:
                first[j] = (self.instance.payload[j] - column.mean) / column.scale
        return first

    def _decoded(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of codes, and z, both `[n, n_features]`, at points of the unit cube."""
        from scipy.special import ndtri

        rows, z = np.empty(uniform.shape), np.empty(uniform.shape)
        here = self.space.codes(self.instance.payload[None])[0]
        for j, column in enumerate(self.background.columns):
            u = uniform[:, j]
            if column.continuous and not self.binned:
                z[:, j] = ndtri(u)
                rows[:, j] = column.mean + column.scale * z[:, j]
                continue
            edges = np.concatenate([[0.0], self.space.cumulated[j]])
            place = np.minimum(np.searchsorted(edges, u, side="right") - 1, len(edges) - 2)
            codes = np.array(column.feature_values, np.intp)[place]
            z[:, j] = codes == here[j]
            inside = (u - edges[place]) / (edges[place + 1] - edges[place])
            rows[:, j] = _values(self.space, j, codes, inside, column)
        return rows, z


def _values(space, j: int, codes: np.ndarray, inside: np.ndarray, column) -> np.ndarray:
    """A value in each bin; a bin of one value keeps it, a missing one is NaN."""
    normals = space.normals.get(j)
    if normals is None:
        return codes.astype(float)
    values = np.append(column.mins, np.nan)[codes]
    wide = normals.wide[codes]
    values[wide] = normals.quantile(codes[wide], np.clip(inside[wide], 1e-12, 1 - 1e-12))
    return values


def _table_bed(
    name: str, frame: pd.DataFrame, target: np.ndarray, model: object, row: int,
    discretizer: str, evaluations: int, label: int | None = None,
) -> TableBed:  # fmt: skip
    """A bed over all rows of a frame; the model goes through its file, as a user's does."""
    model.fit(frame, target)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pkl"
        path.write_bytes(pickle.dumps(model))
        predictor = load_model(str(path), LoadOptions("tabular"))
    table = Table("train.csv", HASH, frame.astype(object), untyped=False)
    background = background_from_table(table, list(frame), discretizer)
    encoder = RowEncoder(background)
    instances = [encoder.encode(table, i, str(i)) for i in range(min(len(table), 1000))]
    predictor = bind_columns(predictor, background.columns)
    (answer,) = predictor.predict_fn(instances[row].payload[None])
    predictor = with_class_names(predictor, len(answer), LoadOptions("tabular"))
    label = int(answer.argmax()) if label is None else label
    return TableBed(name, predictor, background, instances, row, label, evaluations)


def iris(evaluations: int, discretizer: str = "quartile") -> TableBed:
    """Four columns, a forest of 100, a row near the border of two classes."""
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    data = load_iris(as_frame=True)
    forest = RandomForestClassifier(100, random_state=0)
    return _table_bed("iris, forest of 100", data.data, data.target.to_numpy(), forest, 60,
                      discretizer, evaluations, label=1)  # fmt: skip


def cancer(evaluations: int, model: str = "boosting", discretizer: str = "quartile") -> TableBed:
    """Thirty columns, a model of three kinds."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        HistGradientBoostingClassifier,
        RandomForestClassifier,
    )

    data = load_breast_cancer(as_frame=True)
    found = {
        "boosting": HistGradientBoostingClassifier(random_state=0),
        "forest": RandomForestClassifier(100, random_state=0),
        "extra trees": ExtraTreesClassifier(100, random_state=0),
    }[model]
    return _table_bed(f"breast_cancer, {model}", data.data, data.target.to_numpy(), found, 40,
                      discretizer, evaluations, label=1)  # fmt: skip


def diabetes(evaluations: int, discretizer: str = "quartile") -> TableBed:
    """Ten columns, one of two values only; a regression by boosting."""
    from sklearn.datasets import load_diabetes
    from sklearn.ensemble import GradientBoostingRegressor

    data = load_diabetes(as_frame=True)
    boosting = GradientBoostingRegressor(random_state=0)
    return _table_bed("diabetes, gradient boosting", data.data, data.target.to_numpy(), boosting,
                      10, discretizer, evaluations, label=0)  # fmt: skip


def mixed(evaluations: int, discretizer: str = "quartile") -> TableBed:
    """Fourteen columns of words and numbers, one-hot encoder, scaler and a forest of 50."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame, target = census()
    text = [name for name in frame if frame[name].dtype.kind not in "if"]
    numbers = [name for name in frame if name not in text]
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), text),
                                (StandardScaler(), numbers)),
        RandomForestClassifier(50, min_samples_leaf=5, random_state=0),
    )  # fmt: skip
    return _table_bed("14 mixed columns, one-hot and a forest of 50", frame, target, model, 60,
                      discretizer, evaluations)  # fmt: skip
