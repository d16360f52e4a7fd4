"""Which design a table's settings come to: exact where that applies, else samples, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from limecli.errors import NotExactError, UsageError
from limecli.explainers.designs import Design, LimeDesign, SobolDesign, Space
from limecli.neighborhood.sobol import MOST_FEATURES, SobolPlan, sobol_plan
from limecli.types import LimeSettings

_FEWEST_SETTLED = 4  # replicates: with fewer there is no interval to settle by


@dataclass(frozen=True)
class Choice:
    """A design, the settings that it resolves to, and what to say of it."""

    design: Design
    settings: LimeSettings
    notes: tuple[str, ...]


def chosen(settings: LimeSettings, space: Space, exact: Callable[[], Design]) -> Choice:
    """The first design that applies. `exact` makes the exact one, or raises NotExactError."""
    notes: list[str] = []
    design: Design | None = None
    if settings.sampler in ("auto", "exact"):
        try:
            design = exact()
        except NotExactError as error:
            if settings.sampler == "exact":
                notes.append(f"exact weights do not apply, samples are drawn: {error}")
            settings = replace(settings, not_exact=str(error))
    if design is None:
        design = _sampling(settings, space, notes)
    settings = replace(settings, sampler=design.sampler, num_samples=design.num_samples)
    return Choice(design, settings, tuple(notes))


def _sampling(settings: LimeSettings, space: Space, notes: list[str]) -> Design:
    if settings.sampler == "lime":
        return LimeDesign(space, settings)
    n, d = settings.num_samples, len(space.columns)
    plan = _plan(settings, d)
    few = f"{n} samples are too few for Sobol's points in {d} columns"
    if d > MOST_FEATURES:
        few = f"Sobol's points are known for {MOST_FEATURES} columns, not for {d}"
    if settings.settle is not None and (plan is None or plan.replicates < _FEWEST_SETTLED):
        hint = "" if d > MOST_FEATURES else "more --num-samples, within --max-samples"
        raise UsageError(f"--settle: {few}", hint)
    if plan is not None:
        return SobolDesign(space, settings, plan)
    notes.append(f"{few}: lime's own draws are used")
    return LimeDesign(space, settings)


def _plan(settings: LimeSettings, d: int) -> SobolPlan | None:
    """What comes nearest to `num_samples`; with `settle`, not above `max_samples`.

    Where 8 replicates are too many, fewer of the same size (down to one, without an interval).
    """
    most = settings.max_samples if settings.settle is not None else None
    wanted = settings.num_samples
    plan = sobol_plan(wanted, d)
    while plan is not None and most is not None and plan.n > most:
        wanted -= wanted // 4
        plan = sobol_plan(wanted, d)
    points = 1 << (4 * d - 1).bit_length()
    if plan is None and d <= MOST_FEATURES and points <= 2 * settings.num_samples:
        plan = SobolPlan(max(1, round(settings.num_samples / points)), points)
        plan = None if most is not None and plan.n > most else plan
    return plan
