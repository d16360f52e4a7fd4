"""How one column is spread, as far as a fitted model lets on. numpy only, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limecli.types import Category, FloatArray

SAMPLES = 1001  # so that quartiles and deciles are values, not means of two
_GRID = 256  # edges at most
_FEW = 6  # edges below which a normal distribution is laid through them
_TAIL = 2.0  # deviations beyond the mean that rows are taken to reach
_ONE = 0.4  # deviation, as a share of the only edge that there is
_FOLLOWED = 0.5  # how far the cells between the splits follow those shares at first
_EVEN = 0.3  # how much of the mass is spread evenly over the cells at first
_ZERO = 1e-30  # LightGBM parts 0 from what is above it at 1e-35
_STEPS = 3  # of expectation maximisation: more of them make the estimate spiky
_CATEGORY_STEPS = 30


@dataclass
class Intervals:
    """What trees tell of a column, see `leaves.Sink`: rows in intervals, shares below splits."""

    rows: list[tuple[FloatArray, FloatArray, FloatArray]] = field(default_factory=list)
    splits: list[tuple[FloatArray, FloatArray, FloatArray]] = field(default_factory=list)

    def arrays(self, name: str = "rows") -> tuple[FloatArray, FloatArray, FloatArray]:
        """All of one kind, `float[n]` each."""
        import numpy as np

        first, second, weight = (
            np.concatenate(items) for items in zip(*getattr(self, name), strict=True)
        )
        return first, second, weight

    def edges(self) -> FloatArray:
        """The distinct finite ends."""
        import numpy as np

        low, high, _ = self.arrays()
        ends: FloatArray = np.unique(np.concatenate([low, high]))
        return ends[np.isfinite(ends)]

    def two_valued(self) -> bool:
        """Whether it looks like two whole numbers: split half way between, and nowhere else."""
        edges = self.edges()
        return len(edges) == 1 and bool(edges[0] % 1 == 0.5 or 0 < edges[0] < _ZERO)


@dataclass
class Spread:
    """What the parts of a model say of one column; `sample()` and `shares()` sum it up.

    `values` are rows that the model stores, `quantiles` values at equal steps of probability
    (`halfway`: they lie between two values of the column), `normal` a mean and a standard
    deviation, `bent` values that are normally distributed after a transformation, `limits` a
    smallest and a largest value. `sources` name the parts.
    """

    values: FloatArray | None = None
    quantiles: FloatArray | None = None
    intervals: Intervals = field(default_factory=Intervals)
    mixture: tuple[FloatArray, FloatArray, FloatArray] | None = None
    normal: tuple[float, float] | None = None
    bent: FloatArray | None = None
    limits: tuple[float, float] | None = None
    categories: tuple[Category, ...] | None = None
    known_shares: dict[int, float] = field(default_factory=dict)
    indicators: dict[int, Intervals] = field(default_factory=dict)
    halfway: bool = False
    exact: bool = False  # the mean and deviation are those of the training data
    sources: dict[str, str] = field(default_factory=dict)

    def thresholds(self) -> int:
        """How many places of the column the model's trees know; 0 without trees."""
        return len(self.intervals.edges()) if self.intervals.rows else 0

    def kind(self) -> str | None:
        """Which piece of evidence `sample` rests on: the most telling that there is."""
        if self.categories is not None:
            return "categories"
        for name in ("values", "quantiles", "mixture"):
            if getattr(self, name) is not None:
                return name
        weaker = [name for name in ("normal", "bent", "limits") if getattr(self, name) is not None]
        if self.thresholds() >= (8 if weaker else 1) or self._counted():
            return "intervals"
        return weaker[0] if weaker else None

    def _counted(self) -> bool:
        """Whether the trees part most of the values that there can be between the limits."""
        import numpy as np

        if self.limits is None or not self.thresholds():
            return False
        edges = self.intervals.edges()
        digits = _digits(np.concatenate([self.limits, edges]))
        if digits is None:
            return False
        return (self.limits[1] - self.limits[0]) * 10.0**digits <= 2 * len(edges)

    def sample(self) -> FloatArray:
        """`float[SAMPLES]` values at equal steps of probability, rising. Of numbers only."""
        import numpy as np

        steps = np.linspace(0, 1, SAMPLES)  # known ends belong to the column
        kind = self.kind()
        if kind == "values" and self.values is not None:
            return np.sort(self.values)
        if kind == "quantiles" and self.quantiles is not None:
            found = np.interp(steps, np.linspace(0, 1, len(self.quantiles)), self.quantiles)
            return _rounded(found, self.quantiles, self.halfway)
        if kind == "mixture" and self.mixture is not None:
            return mixture_quantiles(*self.mixture)
        if kind == "intervals":
            return _interval_quantiles(steps, self.intervals, self.limits)
        if kind == "normal" and self.normal is not None:
            return _normal_quantiles(*self.normal)
        if kind == "bent" and self.bent is not None:
            return np.sort(self.bent)
        if self.limits is None:
            raise ValueError("nothing is known of this column")
        return self.limits[0] + steps * (self.limits[1] - self.limits[0])

    def shares(self) -> FloatArray:
        """`float[n_categories]`: how frequent each category is, alike where nothing tells."""
        import numpy as np

        n = len(self.categories or ())
        if self.intervals.rows:  # of codes 0..n-1
            cells, edges = _estimate(self.intervals, _CATEGORY_STEPS)
            codes = np.searchsorted(edges, np.arange(n))
            counts = np.bincount(codes, minlength=len(cells))[codes]
            found = cells[codes] / counts
        else:
            told = dict(self.known_shares)
            for code, intervals in self.indicators.items():
                told.setdefault(code, float(_estimate(intervals, _CATEGORY_STEPS)[0][-1]))
            left = max(1.0 - sum(told.values()), 1e-3)
            silent = max(n - len(told), 1)
            found = np.array([told.get(code, left / silent) for code in range(n)])
        found = np.maximum(found, 1e-3 / max(n, 1))
        shares: FloatArray = found / found.sum()
        return shares


def _estimate(intervals: Intervals, steps: int = _STEPS) -> tuple[FloatArray, FloatArray]:
    """Masses `float[n_edges + 1]` of the cells between the edges, and the edges.

    The self-consistent estimate for interval-censored data (Turnbull 1976), stopped early.
    """
    import numpy as np

    low, high, count = intervals.arrays()
    edges = intervals.edges()
    if len(edges) > _GRID:
        edges = edges[np.linspace(0, len(edges) - 1, _GRID).round().astype(int)]
    first = np.searchsorted(edges, low, side="right")
    last = np.searchsorted(edges, high, side="left") + 1
    first[np.isneginf(low)], last[np.isposinf(high)] = 0, len(edges) + 1
    cells = len(edges) + 1
    pairs, inverse = np.unique(first * (cells + 1) + last, return_inverse=True)
    weight = np.bincount(inverse.ravel(), weights=count)
    first, last = pairs // (cells + 1), pairs % (cells + 1)
    mass = _first_guess(intervals, edges)
    for _ in range(steps):
        below = np.concatenate([[0.0], np.cumsum(mass)])
        rate = weight / np.maximum(below[last] - below[first], 1e-12)
        change = np.bincount(first, rate, cells + 1) - np.bincount(last, rate, cells + 1)
        mass = mass * np.cumsum(change)[:cells]
        mass /= mass.sum()
    return mass, edges


def _first_guess(intervals: Intervals, edges: FloatArray) -> FloatArray:
    """Masses from the shares of rows below each split, made to rise, and from where splits are."""
    import numpy as np
    from sklearn.isotonic import IsotonicRegression

    even = np.full(len(edges) + 1, 1.0 / (len(edges) + 1))
    threshold, share, weight = intervals.arrays("splits")
    if not len(threshold):
        return even
    rising = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    below = rising.fit(threshold, share, sample_weight=weight).predict(edges)
    inside = np.diff(below)
    inside = _FOLLOWED * inside + (1 - _FOLLOWED) * max(below[-1] - below[0], 0.05) / max(
        len(inside), 1
    )
    found: FloatArray = np.concatenate([[below[0]], inside, [1.0 - below[-1]]])
    mixed: FloatArray = (1 - _EVEN) * found / found.sum() + _EVEN * even
    return mixed


def _interval_quantiles(
    steps: FloatArray, intervals: Intervals, limits: tuple[float, float] | None
) -> FloatArray:
    import numpy as np

    whole = _digits(intervals.edges()) == 0
    mass, edges = _estimate(intervals, _CATEGORY_STEPS if whole else _STEPS)
    if intervals.two_valued():
        two: FloatArray = np.floor(edges[0]) + np.where(steps < mass[0], 0.0, 1.0)
        return two
    digits = _digits(edges if limits is None else np.concatenate([limits, edges]))
    if digits is not None:  # a cell of zeros is as wide as that of any other value
        edges = np.where((edges > 0) & (edges < _ZERO), 0.5 / 10.0**digits, edges)
    mean, std = _normal_through(np.cumsum(mass)[:-1], edges)
    if len(edges) < _FEW and limits is None:
        return _normal_quantiles(mean, std)
    span = edges[-1] - edges[0]
    inside = max(1.0 - mass[0] - mass[-1], 0.1)
    # Past the outermost splits no one knows how far rows go: as far as if they lay as densely.
    left, right = (min(max(mass[end] / inside, 0.05), 1.0) * span for end in (0, -1))
    low, high = limits or (
        min(edges[0] - left, mean - _TAIL * std),
        max(edges[-1] + right, mean + _TAIL * std),
    )
    if mass[0] > 0.5 and edges[0] > 0:  # mostly nothing: no gain, no visit
        low = max(low, 0.0) if limits else 0.0
        steps = np.where(steps < mass[0], 0.0, steps)
    ends = np.concatenate([[min(low, edges[0])], edges, [max(high, edges[-1])]])
    found: FloatArray = np.interp(steps, np.concatenate([[0.0], np.cumsum(mass)]), ends)
    return found if digits is None else np.round(found, digits)


def _normal_through(below: FloatArray, edges: FloatArray) -> tuple[float, float]:
    """Mean and deviation of the normal distribution that fits best, `below` its edges."""
    import numpy as np
    from scipy.special import ndtri

    scores = ndtri(np.clip(below, 0.01, 0.99))
    if len(edges) == 1 or np.ptp(scores) < 0.1:
        std = _ONE * float(np.abs(edges).mean()) + 1e-6
        return float(edges.mean() - std * scores.mean()), std
    std, mean = np.polyfit(scores, edges, 1)
    return float(mean), max(float(std), float(np.ptp(edges)) / 10)


def _rounded(values: FloatArray, known: FloatArray, halfway: bool) -> FloatArray:
    """Values with as many decimals as the column has, where `known` gives them away."""
    import numpy as np

    digits = _digits(known, 2.0 if halfway else 1.0)
    return values if digits is None else np.round(values, digits)


def _digits(known: FloatArray, parts: float = 2.0) -> int | None:
    """How many decimals the column has, when splits half way between its values give it away."""
    import numpy as np

    if len(known) < 3:
        return None
    for digits in range(4):
        scaled = known * parts * 10.0**digits
        if np.allclose(scaled, np.round(scaled), rtol=1e-6, atol=1e-4):
            return digits
    return None


def _normal_quantiles(mean: float, std: float) -> FloatArray:
    import numpy as np

    return mixture_quantiles(np.array([mean]), np.array([std]), np.ones(1))


def mixture_quantiles(means: FloatArray, stds: FloatArray, weights: FloatArray) -> FloatArray:
    """`float[SAMPLES]` of a mixture of normal distributions, `float[k]` each parameter, rising."""
    import numpy as np
    from scipy.special import ndtr, ndtri

    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES  # a normal distribution has no ends
    if len(means) == 1:
        found: FloatArray = means[0] + stds[0] * ndtri(steps)
        return found
    stds = np.maximum(stds, 1e-12)
    grid = np.linspace((means - 4 * stds).min(), (means + 4 * stds).max(), 4 * SAMPLES)
    below = (weights * ndtr((grid[:, None] - means) / stds)).sum(axis=1) / weights.sum()
    return np.interp(steps, below, grid)
