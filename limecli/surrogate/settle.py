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
    from limecli.surrogate.intervals import Errors
    from limecli.types import FloatArray

_WRONG = 0.05  # of runs may claim an order, or a tie, that is not there
_SHARE = 0.1  # of it for each of the first looks
_ROUNDING = 1e-13  # of the largest weight: gaps below it mean nothing
_EQUAL_LOOKS = 8  # samples double from look to look; later looks get half as much each time


def order_settled(fit: Fit, top: int, tie_tolerance: float, look: int) -> bool:
    """Whether each of the `top` strongest is significantly stronger than every feature ranked below
    it, chosen or not, or surely within `tie_tolerance` of it, a share of the largest |weight|.

    `look` says how often samples have been added (0: the first look). A constant model is settled;
    a fit without intervals never is.
    """
    if fit.errors is None:
        return fit.r2 is None and not fit.no_interval
    errors = fit.errors
    largest = float(np.abs(errors.weights).max(initial=0.0))
    gaps, deviations, ranks = _gaps(errors, top)
    level = _WRONG * _share(look) / max(ranks, 1)
    margins = quantile(1.0 - level, errors.degrees) * deviations
    return bool(((gaps > margins) | (gaps + margins <= tie_tolerance * largest)).all())


def _gaps(errors: Errors, top: int) -> tuple[FloatArray, FloatArray, int]:
    """What ranks 1 to `top` lie above each feature ranked below them, the standard errors of that,
    and how many ranks there are to claim.
    """
    order = np.argsort(-np.abs(errors.weights), kind="stable")
    sizes = np.abs(errors.weights)[order]
    signs = np.where(errors.weights < 0, -1.0, 1.0)[order]
    covariance = errors.covariance[order[:, None], order] * signs[:, None] * signs
    variances = covariance.diagonal()
    others = np.setdiff1d(np.arange(len(errors.all_weights)), errors.features)
    their_sizes = np.abs(errors.all_weights[others])
    their_variances = errors.all_errors[others] ** 2
    gaps, squares = [np.zeros(0)], [np.zeros(0)]
    ranks = min(top, len(order) if len(others) else len(order) - 1)
    for i in range(ranks):
        below = slice(i + 1, None)
        gaps += [sizes[i] - sizes[below], sizes[i] - their_sizes]
        squares += [variances[i] + variances[below] - 2.0 * covariance[i, below],
                    variances[i] + their_variances]  # fmt: skip
    floor = (_ROUNDING * float(sizes[0])) ** 2 if len(sizes) else 0.0
    return np.concatenate(gaps), np.sqrt(np.maximum(np.concatenate(squares), floor)), ranks


def _share(look: int) -> float:
    return _SHARE * 0.5 ** max(0, look - _EQUAL_LOOKS + 1)
