"""The nouns: what the parts of limecli hand to each other. Standard library, numpy typing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from limecli.leaf_boxes import LeafBoxes

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    ByteArray = NDArray[np.uint8]

Kind = Literal["tabular", "image", "text"]
Task = Literal["classification", "regression"]
Value = str | int | float | bool | None
Category = Value
PredictFn = Callable[[Any], "FloatArray"]


@dataclass(frozen=True)
class Predictor:
    """A model as LIME needs it: a function and what is known about its inputs and outputs.

    `predict_fn` takes a batch of n (tabular: a pandas DataFrame of raw values, or
    `float[n, n_features]` of codes once bound to columns; image: `uint8[n, h, w, 3]`; text: a list
    of n strings) and returns `float[n, n_outputs]`, checked: finite, and for classification rows
    that sum to 1 (unless its labels are independent). Regression has one output. `text_features`
    must keep the spelling that they have in the file, though they look like numbers. `categories`
    are those that the model itself knows, by feature, in the order of their codes.
    `rewritten_names` says that the format cannot hold every column name: `predict_fn` takes a
    column under its own name as well as under that in `feature_names`. `sha256` is None for what is
    no file. `fitted` is the model itself, from which a background may be
    recovered.
    """

    predict_fn: PredictFn
    task: Task
    class_names: tuple[str, ...]
    path: str
    sha256: str | None
    format: str
    estimator: str
    feature_names: tuple[str, ...] | None = None
    text_features: tuple[str, ...] = ()
    categories: Mapping[str, tuple[Category, ...]] = field(default_factory=dict)
    rewritten_names: bool = False
    n_features: int | None = None
    input_shape: tuple[int | None, ...] | None = None
    output: str = "probability"
    preprocess: str | None = None
    notes: tuple[str, ...] = ()
    fitted: Any = None
    leaf_boxes: Callable[[], LeafBoxes] | None = None


@dataclass(frozen=True)
class Instance:
    """One thing to explain.

    `payload` is `float[n_features]` of codes (tabular), `uint8[h, w, 3]` (image) or a string.
    `values` are a table row's values as they stand in the file. `segments` (`int[h, w]`) are
    superpixels that the user drew. `outputs` (`float[n_outputs]`): the model's answer to it alone.
    """

    id: str
    index: int
    kind: Kind
    payload: Any
    sha256: str
    path: str | None = None
    values: tuple[Value, ...] = ()
    segments: IntArray | None = None
    outputs: FloatArray | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Column:
    """What the background knows of one feature (lime's `training_data_stats`, one column of it).

    Continuous: `bins` are the inner edges, `means`, `stds`, `mins`, `maxs` hold one number per bin.
    Bin j covers (bins[j-1], bins[j]]; the code len(bins)+1 stands for "missing".
    Categorical: `categories` are the raw values in code order, None standing for "missing".
    `feature_values` are the codes that occur, `feature_frequencies` their shares.
    `mean` and `scale` standardise an undiscretised column.
    """

    name: str
    categories: tuple[Category, ...] | None
    feature_values: tuple[float, ...]
    feature_frequencies: tuple[float, ...]
    mean: float
    scale: float
    bins: tuple[float, ...] = ()
    means: tuple[float, ...] = ()
    stds: tuple[float, ...] = ()
    mins: tuple[float, ...] = ()
    maxs: tuple[float, ...] = ()

    @property
    def continuous(self) -> bool:
        """Whether the column holds numbers rather than categories."""
        return self.categories is None

    @property
    def missing_code(self) -> int | None:
        """The code of a missing value; None when a categorical column never lacks a value."""
        if self.categories is None:
            return len(self.bins) + 1
        return self.categories.index(None) if None in self.categories else None

    @property
    def has_missing(self) -> bool:
        """Whether the background itself has missing values in this column."""
        return self.missing_code is not None and self.missing_code in self.feature_values


@dataclass(frozen=True)
class Background:
    """How the features are spread: kilobytes of statistics, no training row.

    `rows` is None when nobody knows how many there were. `recovered_from` names the parts of the
    model that told, when the background came out of it.
    """

    columns: tuple[Column, ...]
    discretizer: str
    rows: int | None
    source: Literal["file", "sidecar", "model", "rows"]
    path: str | None = None
    sha256: str | None = None
    recovered_from: tuple[str, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Column names in the model's order."""
        return tuple(column.name for column in self.columns)


@dataclass(frozen=True)
class Segmentation:
    """Superpixels: `labels` is `int[h, w]` with every id of 0..count-1 in use."""

    labels: IntArray
    count: int
    algorithm: str
    parameters: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class LimeSettings:
    """Everything besides model, background and instance that decides the numbers.

    None: "lime's default, resolved when the explainer is built", or "does not apply". `max_memory`
    (bytes) bounds the samples that exist at a time; it settles `batch_size` where that is not
    given. `auto_width` says that `kernel_width` was chosen by held-out R². `settle` is the K of
    "sample until the top K order is settled", within `max_samples`; `tie_tolerance` is a share of
    the largest weight. `flips` is how many changes of the decision to look for, none of them in an
    `immutable` column; `flip_threshold` is what a regression's output must cross.
    """

    kind: Kind
    engine: str = "limecli"
    sampler: str = "lime"
    num_samples: int = 5000
    num_features: int | None = 10
    kernel_width: float | None = None
    distance_metric: str = "euclidean"
    feature_selection: str = "auto"
    seed: int = 0
    batch_size: int | None = None
    max_memory: int | None = None
    top_labels: int = 1
    labels: tuple[int, ...] = ()
    discretizer: str | None = None
    sample_around_instance: bool | None = None
    segmentation: str | None = None
    num_segments: int | None = None
    hide_color: str | None = None
    split_expression: str | None = None
    char_level: bool | None = None
    bow: bool | None = None
    mask_string: str | None = None
    auto_width: bool | None = None
    control_variate: bool | None = None
    settle: int | None = None
    tie_tolerance: float | None = None
    max_samples: int | None = None
    flips: int | None = None
    immutable: tuple[str, ...] | None = None
    flip_threshold: float | None = None
    not_exact: str | None = None


@dataclass(frozen=True)
class Attribution:
    """One feature's part in a surrogate. `condition` is what z = 1 means, in words.

    Text fills `positions` ([start, end) in characters), images `area` (share of the picture) and
    `centroid` (y, x in pixels). `low` to `high` is the 95 % interval of the weight (both equal to
    it where it is exact, None where there is none), `sign_probability` how sure its sign is,
    `top_probability` how likely it is among the `num_features` strongest. `ranks` are the first and
    last rank of the features whose order among each other the intervals do not support.
    """

    feature: str
    index: int
    condition: str | None
    value: Value
    weight: float
    rank: int
    low: float | None = None
    high: float | None = None
    sign_probability: float | None = None
    top_probability: float | None = None
    ranks: tuple[int, int] | None = None
    positions: tuple[tuple[int, int], ...] | None = None
    area: float | None = None
    centroid: tuple[float, float] | None = None


@dataclass(frozen=True)
class Change:
    """One feature of a flip: what it was, and what it becomes (None: a word gone)."""

    feature: str
    index: int
    before: Value
    after: Value


@dataclass(frozen=True)
class Flip:
    """A change of few features after which the model, asked again, decides for the label `to`.

    `value` is what it says of that label then; of a regression, the target's new value.
    """

    to: str
    index: int
    value: float
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Cell:
    """How many real rows share every bin and weight, and the range of their predictions."""

    rows: int
    low: float
    high: float


@dataclass(frozen=True)
class Locality:
    """How near the kernel-weighted neighborhood is to its instance.

    `shared` is how many of `of` features a typical (weighted) neighbour has in common with it: bins
    of a table, superpixels shown, words kept. `toward_mean` is how far, as a share of the way from
    the instance to the background's mean, the middle of undiscretised neighbors lies.
    """

    shared: float
    of: int
    toward_mean: float | None = None


@dataclass(frozen=True)
class Repeats:
    """The mean Jaccard index of the strongest features in so many `runs` with other seeds."""

    runs: int
    jaccard: float


@dataclass(frozen=True)
class Variant:
    """What a label's surrogate says with another width, other bins or another background.

    `effects` are (feature index, weight x z of the instance), strongest first: how far the feature,
    as it is here, moves the surrogate. So bins and numbers on a scale can be compared.
    """

    name: str
    effects: tuple[tuple[int, float], ...]
    fidelity: float | None


@dataclass(frozen=True, eq=False)
class Neighborhood:
    """The samples that an explanation was fitted to (if its weights are exact: checked on).

    `samples` are what was drawn: `float[n, n_features]` of numbers and codes (a table), or
    `bool[n, n_features]`, which superpixels are shown or words kept. `outputs` are the model's,
    `float[n, n_outputs]`. `origin` is the instance in the same form, `[n_features]`. `predict` asks
    the model of more samples in that form. `interpretable()` gives z, `[n_features, n]`, and the
    kernel's weights, `float[n]`. `blocks` is how many equal replicates follow each other, if any.
    """

    samples: NDArray[Any]
    outputs: FloatArray
    origin: NDArray[Any]
    predict: PredictFn
    interpretable: Callable[[], tuple[NDArray[Any], FloatArray]]
    blocks: int | None = None


@dataclass(frozen=True)
class Surrogate:
    """One label's local linear model.

    `r2_fit` is the R² on the samples that it was fitted to, `fidelity` the R² on held-out samples
    (None until measured), `fidelity_rows` that on real rows. `local_prediction` is what the
    surrogate says of the instance, `model_prediction` what the model says. `interval` names how the
    intervals were computed ("exact", "HC3", "pairs", "replicates"), `no_interval` says why there
    are none. `stability` is the expected Jaccard index of two runs' `stability_top` strongest.
    `flips` (None: nobody looked) are among `flip_samples` samples. `replicates`: `[r, k]` weights.
    """

    label: str
    index: int
    intercept: float
    local_prediction: float
    model_prediction: float
    r2_fit: float | None
    attributions: tuple[Attribution, ...]
    fidelity: float | None = None
    stability: float | None = None
    stability_top: int | None = None
    settled: bool | None = None
    interval: str | None = None
    no_interval: str = ""
    fidelity_rows: float | None = None
    cell: Cell | None = None
    flips: tuple[Flip, ...] | None = None
    flip_samples: int | None = None
    repeats: Repeats | None = None
    variants: tuple[Variant, ...] | None = None
    replicates: FloatArray | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Score:
    """The model's output for one label."""

    label: str
    index: int
    value: float


@dataclass(frozen=True)
class Explanation:
    """One instance explained.

    `sampler` says how its samples were drawn, which `auto` may settle for each instance anew.
    `model_calls` are all evaluations that it rests on, `weight_calls` those that the weights rest
    on (none where they are exact). `real_rows` is how many real rows `fidelity_rows` was measured
    on. Never serialised: `image` (`uint8[h, w, 3]`), `phases` (in seconds), `neighborhood`.
    """

    instance: Instance
    prediction: tuple[Score, ...]
    model_calls: int
    surrogates: tuple[Surrogate, ...]
    segmentation: Segmentation | None = None
    image: ByteArray | None = None
    notes: tuple[str, ...] = ()
    phases: Mapping[str, float] = field(default_factory=dict, compare=False)
    sampler: str | None = None
    weight_calls: int | None = None
    locality: Locality | None = None
    real_rows: int | None = None
    neighborhood: Neighborhood | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Skipped:
    """An instance that could not be explained, why, and what to try (`hint`, never serialised)."""

    id: str
    index: int
    reason: str
    kind: Literal["input", "predict"] = "input"
    hint: str = ""


@dataclass(frozen=True)
class Report:
    """All that a report format sees. Between equal runs only `provenance` may differ."""

    provenance: Mapping[str, Any]
    model: Mapping[str, Any]
    background: Mapping[str, Any] | None
    settings: Mapping[str, Any]
    explanations: tuple[Explanation | Skipped, ...]
