"""What is settled before the first block: the samples that rows share, widths, rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from limecli import registry
from limecli.audit.backends import one_thread
from limecli.audit.job import Job, RealRows
from limecli.explainers import real_rows
from limecli.explainers.interface import Explainer
from limecli.explainers.row_wise import rounding
from limecli.explainers.tabular import Tabular
from limecli.types import Explanation, Instance, LimeSettings, Predictor

if TYPE_CHECKING:
    from limecli.types import FloatArray


@dataclass(frozen=True)
class Settled:
    """A job that blocks can be explained with, the settings that its envelope tells, and notes.

    `same_digits` says that no digit depends on how many samples the model gets at a time.
    """

    job: Job
    told: LimeSettings
    same_digits: bool
    notes: tuple[str, ...]


@one_thread()
def settled(
    job: Job,
    predictor: Predictor,
    first: Sequence[Instance],
    real: FloatArray | None,
    progress: Callable[[int], None],
) -> Settled:
    """Ask the model what all blocks rest on. `predictor` takes the payloads of `first`, the first
    instances; `real` are rows of the audit itself, `float[m, n_features]`.
    """
    background = job.reader.background
    name = f"{job.settings.engine}-{job.settings.kind}"
    build: Callable[..., Explainer] = registry.load(registry.EXPLAINERS, name)
    explainer = build(predictor, background, job.settings, progress)
    notes = explainer.notes
    if isinstance(explainer, Tabular) and background is not None:
        job = replace(job, asked=explainer.share())
        if explainer.settings.auto_width:
            _ = list(explainer.explain_block(first))
        job = replace(job, settings=explainer.settings)
        if real is not None and len(real):
            found = real_rows.RealRows(predictor, background.columns, job.settings, real)
            rows, outputs = found.known
            job = replace(job, real=RealRows(rows, outputs) if len(rows) else None)
        return Settled(job, job.settings, explainer.same_digits(first), notes)
    told = explainer.settings
    if told.auto_width or told.sampler == "auto":
        one = next((x for x in explainer.explain(first) if isinstance(x, Explanation)), None)
        width = explainer.settings.kernel_width
        job = replace(job, settings=replace(job.settings, kernel_width=width))
        sampler = told.sampler if one is None or one.sampler is None else one.sampler
        told = replace(told, kernel_width=width, sampler=sampler)
    same = rounding(predictor.predict_fn, [first[0].payload]) == 0
    return Settled(job, told, same, notes)
