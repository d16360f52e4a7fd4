"""The same instances explained otherwise: other seeds, widths, bins, backgrounds, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING, Any

from limecli.cli.run import Explained, Prepared, Run, Subject
from limecli.cli.subjects import Rows
from limecli.errors import LimecliError, PredictError, UsageError
from limecli.types import (
    Explanation,
    Instance,
    LimeSettings,
    Repeats,
    Skipped,
    Surrogate,
    Variant,
)

if TYPE_CHECKING:
    from limecli.explainers.width import Tried
    from limecli.types import FloatArray

_WIDTHS = (0.5, 2.0)  # times the width in force
_BINS = ("quartile", "decile", "none")
_OTHER_BINS = "bins: "
_SEEDS = 1 << 32

_Key = tuple[int, int]  # of an instance and a label


@dataclass(frozen=True)
class Tuned:
    """What `--tune` settled on, and all that it tried, ready for a report."""

    prepared: Prepared
    settings: LimeSettings
    table: tuple[dict[str, Any], ...]


def repeated(
    run: Run, prepared: Prepared, explained: Explained, settings: LimeSettings, runs: int
) -> Explained:
    """Each surrogate with `repeats`: what so many runs with other seeds have in common."""
    others = [
        _by_label(_again(run, prepared, replace(settings, seed=(settings.seed + i) % _SEEDS)))
        for i in range(1, runs)
    ]

    def judged(instance: Instance, surrogate: Surrogate) -> Surrogate:
        key = (instance.index, surrogate.index)
        top = surrogate.stability_top or len(surrogate.attributions)
        sets = [_strongest(surrogate, top)]
        sets += [_strongest(other[key], top) for other in others if key in other]
        pairs = [_jaccard(a, b) for a, b in combinations(sets, 2)]
        if not pairs:  # the model refuses the samples of every other seed
            return surrogate
        return replace(surrogate, repeats=Repeats(len(sets), fmean(pairs)))

    return _mapped(explained, judged)


def _strongest(surrogate: Surrogate, top: int) -> frozenset[int]:
    return frozenset(item.index for item in surrogate.attributions[:top])


def _jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0


def sensitive(
    run: Run, subject: Subject, prepared: Prepared, explained: Explained, settings: LimeSettings
) -> Explained:
    """Each surrogate with `variants`, itself the first of them."""
    width = explained.settings.kernel_width or 1.0
    fixed = replace(
        settings, kernel_width=width, auto_width=None, settle=None, num_features=None,
        feature_selection="none",
    )  # fmt: skip
    found = [_variants("as explained", prepared, explained)]
    for factor in _WIDTHS:
        name = f"kernel width {width * factor:.3g}"
        wider = _again(run, prepared, replace(fixed, kernel_width=width * factor))
        found.append(_variants(name, prepared, wider))
    for name, other, its_run in _alternatives(run, subject, prepared):
        again = replace(fixed, discretizer=other.own.get("discretizer", settings.discretizer))
        found.append(_variants(name, other, _again(its_run, other, again)))

    def judged(instance: Instance, surrogate: Surrogate) -> Surrogate:
        key = (instance.index, surrogate.index)
        return replace(surrogate, variants=tuple(by[key] for by in found if key in by))

    return _mapped(explained, judged)


def _variants(name: str, prepared: Prepared, explained: Explained) -> dict[_Key, Variant]:
    return {
        (item.instance.index, one.index): Variant(
            name, _effects(one, item.instance, prepared), one.fidelity
        )
        for item in explained.results
        if isinstance(item, Explanation)
        for one in item.surrogates
    }


def _effects(
    surrogate: Surrogate, instance: Instance, prepared: Prepared
) -> tuple[tuple[int, float], ...]:
    """Weight times z: z is 1 in bins, and the scaled number without."""
    effects = {item.index: item.weight for item in surrogate.attributions}
    background = prepared.background
    if background is not None and prepared.own.get("discretizer") == "none":
        for j in effects:
            column = background.columns[j]
            if column.continuous:
                effects[j] *= (float(instance.payload[j]) - column.mean) / column.scale
    return tuple(sorted(effects.items(), key=lambda item: -abs(item[1])))


def _alternatives(
    run: Run, subject: Subject, prepared: Prepared
) -> Iterator[tuple[str, Prepared, Run]]:
    """A table seen against other bins and other backgrounds, as far as these can be made."""
    if not isinstance(subject, Rows) or prepared.background is None:
        return
    seen, own = prepared.background, prepared.own["discretizer"]
    alike = replace(subject, discretizer=own)
    choices = [(f"{_OTHER_BINS}{name}", replace(subject, discretizer=name)) for name in _BINS
               if name != own]  # fmt: skip
    if seen.source != "rows":
        choices.append(("background: the rows of ROWS", replace(alike, background=subject.path)))
    if seen.source != "model":
        choices.append(("background: the model's own", replace(alike, from_model=True)))
    for name, choice in choices:
        aside = run.aside()
        try:
            other = choice.prepare(aside)
        except LimecliError:  # statistics hold one kind of bins, not every model has a background
            continue
        found = other.background
        # Without names the model takes columns in their order: that of ROWS may be another.
        if found is None or found.feature_names != seen.feature_names:
            continue
        if name.startswith(_OTHER_BINS) or found.sha256 is None or found.sha256 != seen.sha256:
            yield name, other, aside


def tuned(run: Run, subject: Subject, prepared: Prepared, settings: LimeSettings) -> Tuned:
    """The bins and the kernel width of the best held-out R² on blocks kept for tuning.

    Draws once for each kind of bins; R² is measured anew, on other blocks, when it is reported.
    Raises UsageError for lime's own classes, and for a width that is given.
    """
    if settings.engine == "lime":
        raise UsageError("--tune needs limecli's own engine", "leave out --engine lime")
    if settings.kernel_width is not None:
        raise UsageError("--tune chooses the kernel width itself", "leave out --kernel-width")
    tries = [(prepared, run)]
    for name, other, its_run in _alternatives(run, subject, prepared):
        # Only without bins can samples be drawn around the instance.
        if name.startswith(_OTHER_BINS) and not settings.sample_around_instance:
            tries.append((other, its_run))
    table: list[dict[str, Any]] = []
    best: tuple[float, Prepared, LimeSettings] | None = None
    wanted: set[int] | None = None  # what could be explained as asked
    for other, its_run in tries:
        bins = other.own.get("discretizer", settings.discretizer)
        auto = replace(settings, kernel_width=None, auto_width=True, discretizer=bins)
        explained = _again(its_run, other, auto)
        explainable = _explainable(explained)
        if wanted is None:
            wanted = explainable
        if not wanted <= explainable:
            run.notes([f"--tune leaves out --discretizer {bins}: it would skip"
                       f" {len(wanted - explainable)} of {len(wanted)} rows"])  # fmt: skip
            continue
        table += [_row(bins, tried) for tried in explained.tried]
        width = explained.settings.kernel_width
        found = next((t.r2 for t in explained.tried if t.kernel_width == width), None)
        r2 = float("-inf") if found is None else found
        if best is None or r2 > best[0]:
            best = r2, other, replace(auto, kernel_width=width)
    if best is None:  # there is always the one that was asked for
        return Tuned(prepared, settings, ())
    _, chosen, with_width = best
    if chosen is not prepared:  # the model was bound to the other columns
        run.predictor = next(its_run for other, its_run in tries if other is chosen).predictor
    return Tuned(chosen, with_width, tuple(table))


def _row(bins: str | None, tried: Tried) -> dict[str, Any]:
    return {
        **({} if bins is None else {"discretizer": bins}),
        "kernel_width": tried.kernel_width,
        "r2": tried.r2,
        "effective_samples": tried.effective,
    }


def table_lines(table: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What was tried, for stderr."""
    yield "tried, by held-out R² on samples kept for tuning:"
    for row in table:
        r2 = "undefined" if row["r2"] is None else f"{row['r2']:6.3f}"
        bins = f"{row['discretizer']:<9}" if "discretizer" in row else ""
        yield (
            f"  {bins} kernel width {row['kernel_width']:<8.4g} R² {r2}"
            f"   effective samples {row['effective_samples']:.0f}"
        )


def _again(run: Run, prepared: Prepared, settings: LimeSettings) -> Explained:
    """Weights only, without a word. Nothing where the model refuses samples: those of other seeds
    or bins lie elsewhere.
    """
    aside, predict_fn = run.aside(), run.predictor.predict_fn

    def counted(batch: Any) -> FloatArray:
        run.spent[0] += len(batch)
        return predict_fn(batch)

    aside.predictor = replace(run.predictor, predict_fn=counted)
    bare = replace(prepared, skipped=(), real=None)
    try:
        return aside.explain(bare, replace(settings, flips=None))
    except PredictError:
        return Explained((), settings)


def _explainable(explained: Explained) -> set[int]:
    return {item.instance.index for item in explained.results if isinstance(item, Explanation)}


def _by_label(explained: Explained) -> dict[_Key, Surrogate]:
    """Surrogates by instance and label."""
    return {
        (item.instance.index, surrogate.index): surrogate
        for item in explained.results
        if isinstance(item, Explanation)
        for surrogate in item.surrogates
    }


def _mapped(explained: Explained, change: Callable[[Instance, Surrogate], Surrogate]) -> Explained:
    results: list[Explanation | Skipped] = []
    for item in explained.results:
        if isinstance(item, Explanation):
            made = tuple(change(item.instance, surrogate) for surrogate in item.surrogates)
            results.append(replace(item, surrogates=made))
        else:
            results.append(item)
    return replace(explained, results=tuple(results))
