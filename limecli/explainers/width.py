"""`--kernel-width auto`: the width whose surrogate holds best, from one set of evaluations.

The draws do not depend on the width, only their weights do: every width costs fits, no model call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from limecli.types import FloatArray

_FACTORS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
_LEAST_SAMPLES = 100  # effective ones
_EACH_FEATURE = 5


def tuning_blocks(blocks: int) -> tuple[list[int], list[int]]:
    """Blocks to choose a width by, and those that its fidelity is then measured on."""
    return list(range(0, blocks, 2)), list(range(1, blocks, 2))


def effective_samples(weights: FloatArray) -> float:
    """Kish's effective sample size of `float[n]` weights."""
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


@dataclass(frozen=True)
class Tried:
    """A kernel width, the mean held-out R² of the surrogates at it, and the effective samples of
    the instance that has the fewest. `r2` is None where these are too few, or nothing varies.
    """

    kernel_width: float
    r2: float | None
    effective: float


def widths_tried(
    default: float,
    n_features: int,
    weights_of: Sequence[Callable[[float], FloatArray]],
    r2_of: Callable[[float], Sequence[float | None]],
) -> tuple[Tried, ...]:
    """Multiples of lime's default width, rising.

    `weights_of` gives each instance's kernel weights at a width, `r2_of` the R² of each instance
    and label on blocks kept for tuning. The default is always measured, other widths only where
    every instance rests on enough effective samples.
    """
    floor = max(_LEAST_SAMPLES, _EACH_FEATURE * n_features)
    found = []
    for width in (default * factor for factor in _FACTORS):
        effective = min(effective_samples(of(width)) for of in weights_of)
        r2s: list[float] = []
        if width == default or effective >= floor:
            r2s = [r2 for r2 in r2_of(width) if r2 is not None]
        found.append(Tried(width, float(np.mean(r2s)) if r2s else None, effective))
    return tuple(found)


def best_width(default: float, tried: Sequence[Tried]) -> float:
    """The width with the best R². A tie, or a constant model, keeps the default."""

    def order(one: Tried) -> tuple[float, float]:
        r2 = -np.inf if one.r2 is None else round(one.r2, 9)
        return r2, -abs(one.kernel_width - default)

    return max(tried, key=order).kernel_width
