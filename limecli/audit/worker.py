"""Explains the blocks of an audit, in whatever process, thread or machine it is asked to."""

from __future__ import annotations

import gc
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli import registry
from limecli.audit.job import Block, Done, Job
from limecli.audit.readers import Read
from limecli.audit.records import record
from limecli.errors import ModelError
from limecli.explainers.findings import Findings
from limecli.explainers.interface import Explainer
from limecli.explainers.levels import Asked
from limecli.explainers.tabular import Tabular
from limecli.models.detect import load_model
from limecli.models.interface import ModelFile
from limecli.neighborhood.lime_stream import TabularDraws
from limecli.neighborhood.tabular_space import TabularSpace
from limecli.types import Column, Explanation, Instance, LimeSettings, Predictor, Skipped

if TYPE_CHECKING:
    from limecli.types import FloatArray

_here = threading.local()  # an explainer is not for two threads
_QUARTILES = (-0.6745, 0.0, 0.6745)  # of a standard normal: codes of numbers without bins


_opened: dict[str, Predictor] = {}  # models that this process had open before


def seat(job: Job, predictor: Predictor) -> None:
    """Let blocks that this very process explains use a model that is open already."""
    _opened.clear()
    _opened[job.token] = predictor


def explain_block(job: Job, block: Block) -> Done:
    """The records of a block. The model is loaded once a thread or process."""
    worker = getattr(_here, "worker", None)
    if worker is None or worker.job.token != job.token:
        predictor = _opened.get(job.token) or _loaded(job)
        worker = _here.worker = Worker(job, predictor)
        gc.collect()
        gc.freeze()  # the model and its tables stay: nobody need look at them again and again
    done: Done = worker.done(block)
    return done


def _loaded(job: Job) -> Predictor:
    """The model, from its file or, on a machine that does not have that, from the job's parcel."""
    file = ModelFile(job.model)
    if (job.sha256 is None or file.sha256 == job.sha256) or job.parcel is None:
        predictor = load_model(job.model, job.load)
        if predictor.sha256 != job.sha256:
            raise ModelError(f"{job.model} is another file here than where the audit began")
        return predictor
    with tempfile.TemporaryDirectory(prefix="limecli-") as folder:
        path = Path(folder, Path(job.model).name)
        path.write_bytes(job.parcel)
        return replace(load_model(str(path), job.load), path=job.model)


@dataclass(frozen=True)
class _View:
    """What explains rows of some columns: those of the background, or with new categories."""

    predictor: Predictor
    explainer: Explainer
    findings: Findings


class Worker:
    """One model, opened, and what explains blocks with it. `predictor` is as it was loaded."""

    def __init__(self, job: Job, predictor: Predictor) -> None:
        self.job, self._predictor = job, predictor
        self._columns = None if job.reader.background is None else job.reader.background.columns

    def done(self, block: Block) -> Done:
        """The records of a block, in its order."""
        read = self.job.reader.read(block.entries)
        notes = list(read.notes)
        results: list[Explanation | Skipped] = [*read.skipped]
        for item in self._explained(read):
            if isinstance(item, Explanation):
                notes += [(line, line) for line in item.notes]
            results.append(item)
        results.sort(key=_index_of)
        more = self._more(read)
        masked = self.job.masked
        lines = tuple(record(item, more.get(_index_of(item), {}), masked) for item in results)
        return Done(lines, tuple(dict.fromkeys(notes)))

    def _explained(self, read: Read) -> list[Explanation | Skipped]:
        if not read.instances:
            return []
        view = self._view(read.columns)
        if isinstance(view.explainer, Tabular):
            found = list(view.explainer.explain_block(read.instances))
        else:
            found = list(view.explainer.explain(read.instances))
        good = [item for item in found if isinstance(item, Explanation)]
        rest: list[Explanation | Skipped] = [x for x in found if isinstance(x, Skipped)]
        return [*rest, *view.findings.added(good)]

    @cached_property
    def _own(self) -> _View:
        return self._made(self._columns)

    def _view(self, columns: tuple[Column, ...] | None) -> _View:
        return self._own if columns == self._columns else self._made(columns)

    def _made(self, columns: tuple[Column, ...] | None) -> _View:
        job = self.job
        predictor = job.reader.bound(self._predictor, columns)
        predictor = replace(predictor, class_names=job.class_names)
        background = job.reader.background
        if background is not None and columns is not None:
            background = replace(background, columns=columns)
        name = f"{job.settings.engine}-{job.settings.kind}"
        build: Callable[..., Explainer] = registry.load(registry.EXPLAINERS, name)
        explainer = build(predictor, background, job.settings, _quiet)
        if isinstance(explainer, Tabular) and job.asked is not None:
            explainer.adopt(_own_copy(job.asked))
        real = job.real
        findings = Findings(
            predictor, explainer.settings, columns,
            None if real is None else real.rows, None if real is None else real.outputs,
        )  # fmt: skip
        return _View(predictor, explainer, findings)

    def _more(self, read: Read) -> Mapping[int, Mapping[str, Any]]:
        """What the reader adds to records, and the bins of rows of which groups are told."""
        if not read.more or self._columns is None or not read.instances:
            return read.more
        codes = bin_codes(self._columns, self.job.settings, read.instances)
        known = [column.name not in self.job.masked for column in self._columns]
        return {
            item.index: {
                **read.more[item.index],
                "bins": [code if told else None for code, told in zip(row, known, strict=True)],
            }
            for item, row in zip(read.instances, codes.tolist(), strict=True)
        }


def _quiet(_: int) -> None:
    """Progress of a worker is told by what it has done."""


def _own_copy(asked: Asked) -> Asked:
    """Explainers write the row to explain into the draws."""
    draws = TabularDraws(asked.draws.rows.copy(), asked.draws.codes)
    return replace(asked, draws=draws)


def bin_codes(
    columns: Sequence[Column], settings: LimeSettings, instances: Sequence[Instance]
) -> Any:
    """`int[n, n_features]`: bins and categories; quarters of a normal law for numbers in none."""
    payloads: FloatArray = np.stack([item.payload for item in instances])
    codes = TabularSpace(columns).codes(payloads)
    if settings.discretizer == "none":
        for j, column in enumerate(columns):
            if column.continuous:
                scaled = (payloads[:, j] - column.mean) / column.scale
                codes[:, j] = np.searchsorted(_QUARTILES, scaled)
    return codes


def _index_of(item: Explanation | Skipped) -> int:
    return item.index if isinstance(item, Skipped) else item.instance.index
