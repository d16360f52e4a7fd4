"""`verify --against lime` for samplers that lime does not have: weights within their errors.

Four steps: the report again as it was made, for its errors; lime's own classes; the same draws as
limecli has them, which must give lime's numbers; and the weights that those draws alone tell of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from limecli.cli.run import Explained, Prepared, Run
from limecli.types import Explanation, LimeSettings

if TYPE_CHECKING:
    from limecli.cli.replay import Replay
    from limecli.explainers.lime_draws import DrawnWeight
    from limecli.report.deviations import Sides
    from limecli.report.differences import Compared
    from limecli.report.reading import Recorded

_FEWEST_BLOCKS = 2  # of which the spread can be known


class _Draws:
    """Takes from each explanation by lime's draws the weights of the features of a report."""

    def __init__(self, report: Recorded) -> None:
        self._wanted = {
            item["index"]: {
                label["index"]: [found["index"] for found in label["attributions"]]
                for label in item["labels"]
            }
            for item in report.explained
        }
        self.found: dict[int, dict[int, dict[int, DrawnWeight]]] = {}

    def keep(self, explanation: Explanation) -> None:
        """See `Keep`."""
        from limecli.explainers.lime_draws import drawn_weights

        index, near = explanation.instance.index, explanation.neighborhood
        if near is not None:
            self.found[index] = {
                label: drawn_weights(near, label, features)
                for label, features in self._wanted.get(index, {}).items()
                if label < near.outputs.shape[1]
            }


@dataclass(frozen=True)
class Results:
    """What there is to compare with, by index, and how far a weight may lie off."""

    again: Mapping[int, Mapping[str, Any]]
    lime: Mapping[int, Mapping[str, Any]]
    copied: Mapping[int, Mapping[str, Any]]
    draws: _Draws
    degrees: Mapping[int, float]
    faulty: tuple[str, ...]
    allowed: float

    def compared(self, item: Mapping[str, Any], same_name: bool, tolerance: float) -> Compared:
        """The verdict on one recorded explanation that is among the results."""
        from limecli.report.comparison import compare
        from limecli.report.deviations import compare_within

        index = item["index"]
        lime, copied = self.lime[index], self.copied[index]
        found = compare_within(item, self._sides(index), same_name, tolerance, self.allowed)
        same = compare(lime, copied, same_engine=False, same_name=True, tolerance=tolerance)
        if same.verified:
            return found
        first = same.differences[0]
        where = "" if first.feature is None else f" of {first.feature}"
        reason = f"limecli's copy of lime's draws gives another {first.what}{where} than lime"
        return replace(found, verified=False, reason=reason)

    def _sides(self, index: int) -> Sides:
        from limecli.report.deviations import Sides

        return Sides(
            self.again[index], self.lime[index], self.draws.found.get(index, {}),
            self.degrees.get(index, float("inf")), self.faulty,
        )  # fmt: skip


def lime_results(replay: Replay, run: Run, prepared: Prepared, labels: tuple[int, ...]) -> Results:
    """Explain the report's subject anew, and twice as lime does."""
    from limecli.explainers.conditions import one_value_columns
    from limecli.report.deviations import allowed_deviation

    report, bare = replay.report, replace(prepared, real=None)
    made = replace(replay.settings(), labels=labels, flips=None)
    limes = replace(replay.limes_settings(), labels=labels)
    again = run.explain(bare, made)
    lime = run.explain(bare, limes)
    draws = _Draws(report)
    copied = run.explain(bare, replace(limes, engine="limecli"), draws.keep)
    columns = None if prepared.background is None else prepared.background.columns
    binned = columns is not None and limes.discretizer != "none"
    faulty = one_value_columns(columns) if columns is not None and binned else []
    count = sum(len(label["attributions"]) for item in report.explained for label in item["labels"])
    task = run.predictor.task
    return Results(
        by_index(again, task), by_index(lime, task), by_index(copied, task), draws,
        _degrees(again, None if columns is None else len(columns)), tuple(faulty),
        allowed_deviation(count),
    )  # fmt: skip


def by_index(explained: Explained, task: str) -> dict[int, Mapping[str, Any]]:
    """Explanations in the form of the JSON report."""
    from limecli.report.json import as_dict
    from limecli.types import Report

    content = as_dict(Report({}, {"task": task}, None, {}, explained.results))["explanations"]
    return {item["index"]: item for item in content}


def _degrees(explained: Explained, columns: int | None) -> dict[int, float]:
    """Degrees of freedom of each explanation's intervals: its replicates less one."""
    found = {}
    for item in explained.results:
        if isinstance(item, Explanation):
            blocks = _blocks(explained.settings, item, columns)
            found[item.instance.index] = float("inf") if blocks is None else blocks - 1.0
    return found


def _blocks(settings: LimeSettings, item: Explanation, columns: int | None) -> int | None:
    """How many independent draws there were at least; None where samples are judged one by one."""
    from limecli.neighborhood.hadamard import hadamard_plan
    from limecli.neighborhood.sobol import sobol_plan

    if item.sampler == "sobol":
        plan = sobol_plan(settings.num_samples, columns or 0)
        return _FEWEST_BLOCKS if plan is None else plan.replicates
    if item.sampler == "hadamard" and item.segmentation is not None:
        plan_ = hadamard_plan(settings.num_samples, item.segmentation.count)
        return _FEWEST_BLOCKS if plan_ is None else plan_
    return None
