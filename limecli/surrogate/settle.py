"""Whether the order of the strongest features is settled: `--settle K`.

The claims are tested look after look while samples are added, so that the errors of a run come to
5 % in all: each look may spend a share of it, divided among its gaps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from limecli.surrogate.fit import Fit
from limecli.surrogate.intervals import quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.surrogate.intervals import Errors
    from limecli.types import FloatArray

_WRONG = 0.05  # of runs may claim an order, or a tie, that is not there
_SHARE = 0.1  # of it for each of the first looks
_EQUAL_LOOKS = 8  # samples double from look to look; later looks get half as much each time


def order_settled(fit: Fit, top: int, tie_tolerance: float, look: int) -> bool:
    """Whether every gap between neighbors in rank, down to that below rank `top`, is significant,
    or surely within `tie_tolerance`, a share of the largest |weight|.

    `look` says how often samples have been added (0: the first look). A constant model is settled;
    a fit without intervals never is.
    """
    if fit.errors is None:
        return fit.r2 is None and not fit.no_interval
    gaps, margins, largest = _gaps(fit.errors, top, look)
    return bool(((gaps > margins) | (gaps + margins <= tie_tolerance * largest)).all())


def _gaps(errors: Errors, top: int, look: int) -> tuple[FloatArray, FloatArray, float]:
    """Gaps below ranks 1 to `top`, how much of each is noise at this look, and the largest size."""
    order = np.argsort(-np.abs(errors.weights), kind="stable")
    largest = float(np.abs(errors.weights).max(initial=0.0))
    gaps, deviations = errors.gaps(order)
    gaps, deviations = gaps[:top], deviations[:top]
    if len(order) <= top:
        gap, deviation = _gap_to_others(errors, order)
        gaps, deviations = np.append(gaps, gap), np.append(deviations, deviation)
    level = _WRONG * _share(look) / max(len(gaps), 1)
    return gaps, quantile(1.0 - level, errors.degrees) * deviations, largest


def _share(look: int) -> float:
    return _SHARE * 0.5 ** max(0, look - _EQUAL_LOOKS + 1)


def _gap_to_others(errors: Errors, order: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
    """The gap between the last feature chosen and the strongest that was not; empty without one."""
    others = np.setdiff1d(np.arange(len(errors.all_weights)), errors.features)
    if len(others) == 0 or len(order) == 0:
        return np.zeros(0), np.zeros(0)
    other = others[np.argmax(np.abs(errors.all_weights[others]))]
    last = order[-1]
    gap = abs(errors.weights[last]) - abs(errors.all_weights[other])
    return np.array([gap]), np.array([np.hypot(errors.deviations[last], errors.all_errors[other])])
