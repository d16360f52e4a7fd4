"""What is known of the table's columns, and how features inside a model lead back to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from limecli.inputs.spread import Spread, mixture_quantiles
from limecli.types import Category

if TYPE_CHECKING:
    from limecli.types import FloatArray


def _same(values: Any) -> Any:
    return values


@dataclass(frozen=True)
class Link:
    """Where a feature inside the model comes from.

    `origins` are columns of the table. `original` brings the feature's values back to its one
    column; None where that cannot be done. `indicator` is the category that a 0/1 feature stands
    for; `coded` says that the feature holds category codes.
    """

    origins: frozenset[int]
    original: Callable[[Any], Any] | None = _same
    indicator: int | None = None
    coded: bool = False

    @property
    def column(self) -> int | None:
        """The column whose values the feature still tells."""
        return next(iter(self.origins)) if self.original is not None else None

    @property
    def number(self) -> bool:
        """Whether the feature is a column of numbers, scaled or not."""
        return self.original is not None and self.indicator is None and not self.coded

    @property
    def untouched(self) -> bool:
        """Whether the feature is the column itself."""
        return self.original is _same and self.number

    def back(self, values: Any) -> FloatArray:
        """`float[n]` values of the feature as values of its column."""
        import numpy as np

        values = np.asarray(values, dtype=float)
        return values if self.original is None else np.asarray(self.original(values), dtype=float)

    def straight(self, values: FloatArray) -> bool:
        """Whether three values at equal distances lie so in the column, too."""
        import numpy as np

        low, middle, high = self.back(values)
        return bool(np.isclose(low + high, 2 * middle, rtol=1e-9, atol=1e-4 * abs(high - low)))

    def then(self, undo: Callable[[Any], Any]) -> Link:
        """The link of a feature that was made from this one, and how to undo that."""
        original = self.original
        if original is None:
            return self
        return replace(self, original=lambda values: original(undo(values)))


Links = Sequence[Link]


def opaque(links: Iterable[Link]) -> Link:
    """The link of a feature that was mixed out of others."""
    return Link(frozenset().union(*(link.origins for link in links)), None)


class Evidence:
    """`spreads`, one for each of the columns `names`; `touched`, those that the model may look at.

    `rows` is the number of training rows, where a part of the model remembers it.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.spreads = [Spread() for _ in names]
        self.touched: set[int] = set()
        self.rows: int | None = None

    def spread(self, link: Link) -> Spread | None:
        """The spread of the column that a link leads to."""
        return None if link.column is None else self.spreads[link.column]

    def say(self, link: Link, kind: str, source: str, value: Any) -> None:
        """Note what `source` knows of a column of numbers; what was said before stands."""
        spread = self.spread(link)
        if spread is not None and link.number and getattr(spread, kind) is None:
            setattr(spread, kind, value)
            spread.sources[kind] = source

    def between(self, link: Link, source: str, found: FloatArray) -> None:
        """Note quantiles of a feature that lie half way between its values."""
        spread = self.spread(link)
        if spread is not None and link.number and spread.quantiles is None:
            spread.halfway = True
            self.say(link, "quantiles", source, link.back(found))

    def limits(self, link: Link, source: str, low: float, high: float) -> None:
        """Note the smallest and largest value of a feature."""
        a, b = link.back([low, high])
        self.say(link, "limits", source, (float(min(a, b)), float(max(a, b))))

    def normal(self, link: Link, source: str, mean: float, std: float) -> None:
        """Note mean and standard deviation of a feature."""
        import numpy as np

        if not link.straight(mean + std * np.array([-1.0, 0.0, 1.0])):
            self._bent(link, source, np.array([mean]), np.array([std]), np.ones(1))
            return
        low, high = link.back([mean - std, mean + std])
        self.say(link, "normal", source, (float(low + high) / 2, abs(float(high - low)) / 2 or 1.0))

    def mixture(
        self, link: Link, source: str, means: FloatArray, stds: FloatArray, weights: FloatArray
    ) -> None:
        """Note a mixture of normal distributions of a feature, `float[k]` each parameter."""
        import numpy as np

        around = zip(means - stds, means, means + stds, strict=True)
        if not all(link.straight(np.array(values)) for values in around):
            self._bent(link, source, means, stds, weights)
            return
        low, high = link.back(means - stds), link.back(means + stds)
        self.say(link, "mixture", source, ((low + high) / 2, abs(high - low) / 2, weights))

    def _bent(
        self, link: Link, source: str, means: FloatArray, stds: FloatArray, weights: FloatArray
    ) -> None:
        """What is normal in the feature is not in the column: its values one by one."""
        import numpy as np

        values = link.back(mixture_quantiles(means, stds, weights))
        values = values[np.isfinite(values)]
        if len(values):
            self.say(link, "bent", source, values)

    def categories(self, link: Link, found: Iterable[Any], source: str) -> None:
        """Note the categories of a column, in the order of their codes."""
        spread = self.spread(link)
        if spread is not None and spread.categories is None:
            spread.categories = tuple(dict.fromkeys(_plain(value) for value in found))
            spread.sources["categories"] = source

    def count(self, rows: float) -> None:
        """Note the number of training rows."""
        self.rows = self.rows or round(rows) or None

    def touch(self, links: Iterable[Link]) -> None:
        """Note that the model may look at these features."""
        for link in links:
            self.touched |= link.origins


def _plain(value: Any) -> Category:
    value = value.item() if hasattr(value, "item") else value
    if value is None or value != value or type(value).__name__ == "NAType":  # noqa: PLR0124 - NaN
        return None
    return value if isinstance(value, str | int | float | bool) else str(value)
