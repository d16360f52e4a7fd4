"""How the values of many decisions are spread."""

from __future__ import annotations

import math
from array import array
from typing import Any

import numpy as np

_QUANTILES = {"p01": 0.01, "p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95,
              "p99": 0.99}  # fmt: skip
_LARGEST = float(np.finfo(np.float32).max)


class Spread:
    """Mean, extremes and quantiles of numbers that come one after the other.

    Mean and extremes are of double precision. Quantiles rest on float32, four bytes a value, and
    are told with seven digits; values beyond 3e38 count as that.
    """

    def __init__(self) -> None:
        self._values = array("f")
        self._unknown = 0
        self._sum, self._low, self._high = 0.0, math.inf, -math.inf

    def add(self, value: float | None) -> None:
        """Take a value; None, or what is no finite number, could not be measured."""
        if value is None or not math.isfinite(value):
            self._unknown += 1
            return
        self._sum += value
        self._low = min(self._low, value)
        self._high = max(self._high, value)
        self._values.append(value if -_LARGEST < value < _LARGEST else _clipped(value))

    def content(self) -> dict[str, Any]:
        """count, unknown, mean, min, max and quantiles (linear between neighbors); null without
        values.
        """
        count = len(self._values)
        if not count:
            names = ("mean", "min", *_QUANTILES, "max")
            return {"count": 0, "unknown": self._unknown, **dict.fromkeys(names)}
        found = np.quantile(np.array(self._values), list(_QUANTILES.values()))
        bounded = [min(max(_digits(value), self._low), self._high) for value in found]
        mean = self._sum / count
        return {
            "count": count,
            "unknown": self._unknown,
            "mean": mean if math.isfinite(mean) else None,
            "min": self._low,
            **dict(zip(_QUANTILES, bounded, strict=True)),
            "max": self._high,
        }


def _clipped(value: float) -> float:
    return math.copysign(_LARGEST, value)


def _digits(value: float) -> float:
    return float(f"{value:.7g}")
