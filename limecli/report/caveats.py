"""How far an explanation can be trusted, in sentences that say no more than is known.

`verdict` and `basis` are the lines under one explanation. The sentences hold for any explanation of
their sort: `footer` gives them for a whole report, `brief` in short for a picture, `caveats` with
everything else, for formats without a footer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from limecli.report import sensitivity, words
from limecli.types import Explanation, Report, Surrogate

WIDTH = 78  # of a line that joins several facts
_DOUBTFUL = 12  # features that a chart names
UNSURE = "░"  # what bars are made of whose sign is not sure


@dataclass(frozen=True)
class _Sentence:
    """A caveat, and what is left of it where there is little room."""

    text: str
    short: str


_CHOICES = {
    "tabular": "background, kernel or bins",
    "image": "superpixels or kernel",
    "text": "words or kernel",
}
_EXACT = _Sentence(
    "Exact: no sampling error in LIME's large-sample weights; no proof of how the model decides, or"
    " of causes.",
    "exact: no sampling error; no proof of how the model decides, or of causes",
)
_RECOVERED = _Sentence(
    "Background recovered from the model: approximate; weights may differ from those with the"
    " training data.",
    "background recovered from the model: approximate",
)
_ZERO = _Sentence(
    "Weight 0 does not mean unused: features that decide only together can all have weight 0.",
    "weight 0 does not mean unused",
)
_PROTECTED = _Sentence(
    "A low weight does not show absence of discrimination: other columns can stand in.",
    "a low weight does not show absence of discrimination: other columns can stand in",
)
_MARGINS = _Sentence(
    "Margins of several classes mean something beside each other only: what is added to all of them"
    " changes no decision.",
    "margins of several classes mean something beside each other only",
)
_CHAIN = _Sentence(
    "The hash chain shows edits only if the last hash is kept elsewhere; not signed.",
    "the hash chain shows edits only if the last hash is kept elsewhere; not signed",
)
_LEGAL = _Sentence(
    "A LIME report alone is not legal compliance.", "a LIME report alone is not legal compliance"
)
_SIGN = "sign_probability is approximate: 1 stands for anything above 0.999."


def caveats(item: Explanation, report: Report) -> list[str]:
    """Every sentence about one explanation, also those with its numbers."""
    found = [sentence.text for sentence in _sentences(item, report)]
    if any(_has_interval(surrogate) for surrogate in item.surrogates):
        found.insert(1, _SIGN)
    near = ("; ".join(_nearness(item, surrogate, report)) for surrogate in item.surrogates)
    return [*found, *dict.fromkeys(f"{line[0].upper()}{line[1:]}." for line in near if line)]


def of_audit(settings: Mapping[str, Any], background: Mapping[str, Any] | None) -> list[str]:
    """The sentences that hold for all decisions of an audit."""
    exact = settings["sampler"] == "exact"
    found = [_EXACT if exact else _interval(settings["kind"])]
    if (background or {}).get("source") == "model":
        found.append(_RECOVERED)
    found.append(_ZERO)
    if settings.get("protected"):
        found.append(_PROTECTED)
    return [sentence.text for sentence in (*found, _CHAIN, _LEGAL)]


def footer(report: Report) -> list[str]:
    """The sentences for the end of a report, each once."""
    explained = [item for item in report.explanations if isinstance(item, Explanation)]
    surrogates = [surrogate for item in explained for surrogate in item.surrogates]
    found = [sentence.text for item in explained for sentence in _sentences(item, report)]
    if any(words.unsure(part) for surrogate in surrogates for part in surrogate.attributions):
        found.insert(0, f"{UNSURE} the interval contains 0: the sign is not sure.")
    lines = list(dict.fromkeys(found))
    if _LEGAL.text in lines:  # the last word, wherever the first explanation put it
        lines.remove(_LEGAL.text)
        lines.append(_LEGAL.text)
    return lines


def brief(item: Explanation, report: Report) -> list[str]:
    """The sentences about one explanation in short, for a caption."""
    return [sentence.short for sentence in _sentences(item, report)]


def _sentences(item: Explanation, report: Report) -> Iterable[_Sentence]:
    """Those that suit what the explanation is, the most important first."""
    kind, surrogates = item.instance.kind, item.surrogates
    found = []
    if any(_has_interval(surrogate) for surrogate in surrogates):
        found.append(_interval(kind))
    if any(surrogate.interval == "exact" for surrogate in surrogates):
        found.append(_EXACT)
    for reason in dict.fromkeys(surrogate.no_interval for surrogate in surrogates):
        if reason:
            why = f"interval: {reason.rstrip('.')}"
            found.append(_Sentence(f"No {why}.", f"no {why}"))
    background = report.background or {}
    if background.get("source") == "model" or background.get("recovered_from"):
        found.append(_RECOVERED)
    if any(_shows_zero(surrogate) for surrogate in surrogates):
        found.append(_ZERO)
    model = report.model
    if model.get("output") == "margin" and (model.get("n_classes") or 0) > 2:
        found.append(_MARGINS)
    if _shows_protected(item, report):
        found.append(_PROTECTED)
    return dict.fromkeys([*found, _LEGAL])


def _interval(kind: str) -> _Sentence:
    return _Sentence(
        "95% interval: sampling error only, per weight. Not the choice of"
        f" {_CHOICES[kind]}, and not the model's own error.",
        "95% interval: sampling error only",
    )


def _has_interval(surrogate: Surrogate) -> bool:
    return surrogate.interval != "exact" and any(
        part.low is not None for part in surrogate.attributions
    )


def _shows_zero(surrogate: Surrogate) -> bool:
    """Whether a weight reads as 0, be it exactly or by rounding."""
    largest = words.largest_weight(surrogate.attributions)
    return any(
        abs(part.weight) <= words.NOISE or not words.weight(part.weight, largest).strip("+-0.")
        for part in surrogate.attributions
    )


def _shows_protected(item: Explanation, report: Report) -> bool:
    """Whether a column is shown that is protected, or that no flip may change."""
    settings = report.settings
    fixed = {*(settings.get("protected") or ()), *(settings.get("immutable") or ())}
    return any(
        part.feature in fixed for surrogate in item.surrogates for part in surrogate.attributions
    )


def verdict(
    item: Explanation, surrogate: Surrogate, report: Report, width: int = WIDTH
) -> list[str]:
    """How far one label's weights can be trusted, a line each; facts share those of `width`."""
    local = words.prediction(surrogate.local_prediction, report)
    model = words.prediction(surrogate.model_prediction, report)
    tabular = item.instance.kind == "tabular"
    lines = [
        *packed(
            [words.fidelity_words(surrogate), f"surrogate {local}, model {model}"],
            width,
            between="   ",
        ),
        words.other_fidelities(item, surrogate),
        _hint(item, surrogate, report),
    ]
    if tabular and report.settings.get("discretizer") == "none":
        lines.append("weights of number columns are per standard deviation of the background")
    lines += packed(_steadiness(item, surrogate, report), width)
    lines += packed(_nearness(item, surrogate, report), width, between="; ")
    lines += _flips(item, surrogate, report)
    lines += sensitivity.lines(surrogate)
    return [line for line in lines if line]


def packed(facts: list[str], width: int, between: str = " · ") -> list[str]:
    """Facts side by side, as many on a line as fit."""
    lines: list[str] = []
    for fact in facts:
        if lines and len(lines[-1]) + len(between) + len(fact) <= width:
            lines[-1] += between + fact
        else:
            lines.append(fact)
    return lines


def _hint(item: Explanation, surrogate: Surrogate, report: Report) -> str:
    """What to try where the held-out fidelity is low."""
    if surrogate.fidelity is None or words.fidelity_word(surrogate) != "low":
        return ""
    settings, tries = report.settings, []
    if item.instance.kind == "tabular" and settings.get("discretizer") != "none":
        tries.append("--discretizer none")
    if not settings.get("auto_width"):
        tries.append("--kernel-width auto")
    if item.instance.kind == "tabular":
        tries.append("--tune")
    return (
        "try " + " or ".join([*filter(None, [", ".join(tries[:-1])]), tries[-1]]) if tries else ""
    )


def _steadiness(item: Explanation, surrogate: Surrogate, report: Report) -> list[str]:
    """How far another run would agree, and whether the order is settled."""
    facts = []
    shown = len(surrogate.attributions)
    top = surrogate.stability_top
    if surrogate.stability is not None and surrogate.interval != "exact":
        facts.append(f"of two such runs {surrogate.stability:.2f}")
    if surrogate.repeats is not None:
        runs, jaccard = surrogate.repeats.runs, surrogate.repeats.jaccard
        facts.append(f"of {runs} runs with other seeds {jaccard:.2f}")
    facts[:1] = [f"top-{top or shown} agreement {fact}" for fact in facts[:1]]
    if surrogate.settled is not None:
        settle = report.settings.get("settle") or shown
        order = f"order of the top {'feature' if settle == 1 else settle}"
        calls = item.model_calls if item.weight_calls is None else item.weight_calls
        facts.append(f"{order} {'' if surrogate.settled else 'not '}settled after {calls:,} calls")
    return facts


def chances(surrogate: Surrogate) -> list[str]:
    """Signs, and places among the strongest, that are not nearly certain; for charts."""
    if surrogate.interval in (None, "exact"):
        return []
    parts, lines = surrogate.attributions, []
    for name, values in (
        ("P(sign)", [part.sign_probability for part in parts]),
        (f"P(in top {len(parts)})", [part.top_probability for part in parts]),
    ):
        doubtful = [
            f"{part.feature} {words.chance(value)}"
            for part, value in zip(parts, values, strict=True)
            if value is not None and value <= 0.999
        ][:_DOUBTFUL]
        rest = "> 0.999" if not doubtful else f"{', '.join(doubtful)}; others > 0.999"
        lines.append(f"{name} {rest}")
    return lines


def _nearness(item: Explanation, surrogate: Surrogate, report: Report) -> list[str]:
    """How near the neighborhood is, and who shares the weights."""
    kind, binned = item.instance.kind, report.settings.get("discretizer") != "none"
    parts = []
    if item.locality is not None and item.locality.of > 0:
        verb, what = {
            "tabular": ("shares", "feature bins" if binned else "categories"),
            "image": ("shows", "superpixels"),
            "text": ("keeps", "words"),
        }[kind]
        shared = f"{_few(item.locality.shared)} of {item.locality.of}"
        parts.append(f"a typical neighbour {verb} {shared} {what}")
    if item.locality is not None and item.locality.toward_mean is not None:
        share = f"{item.locality.toward_mean:.0%}"
        parts.append(
            f"the middle of the neighbourhood lies {share} of the way to the background's mean"
        )
    if surrogate.cell is not None:
        rows, low, high = surrogate.cell.rows, surrogate.cell.low, surrogate.cell.high
        who = (
            "no row shares"
            if rows == 0
            else "1 row shares"
            if rows == 1
            else f"{rows:,} rows share"
        )
        one, other = words.prediction(low, report), words.prediction(high, report)
        ends = "" if rows == 0 else f" ({one})" if one == other else f" ({one} to {other})"
        parts.append(f"{who} all {'bins' if binned else 'features'}{ends}")
    return parts


def _few(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0") if value < 10 else f"{value:.0f}"


def _flips(item: Explanation, surrogate: Surrogate, report: Report) -> list[str]:
    """What would change the decision, a line each; empty where nobody looked."""
    if surrogate.flips is None:
        return []
    limit = report.settings.get("flip_threshold")
    past = "" if limit is None else f" past {words.prediction(limit, report)}"
    if not surrogate.flips:
        count = surrogate.flip_samples
        among = "" if count is None else f" among {count:,} samples"
        return [f"no change found that goes{past}{among}" if past else f"no flip found{among}"]
    lines = []
    for flip in surrogate.flips:
        where = f"would flip to {flip.to}"
        if report.model["task"] == "regression":
            where = f"{flip.to} would go{past} to {words.prediction(flip.value, report)}"
        joint = ": " if item.instance.kind == "tabular" else " "
        lines.append(f"{where}{joint}{words.changes(flip, item.instance.kind)}")
    return lines


def basis(item: Explanation, report: Report, width: int = WIDTH) -> list[str]:
    """What an explanation rests on; facts share lines of `width`."""
    settings, background = report.settings, report.background
    sampler = f"sampler {item.sampler or settings['sampler']}"
    if settings["engine"] != "limecli":
        sampler = f"engine {settings['engine']}, {sampler}"
    facts = [sampler]
    if item.weight_calls is None:
        facts.append(f"{item.model_calls:,} model calls")
    else:
        facts.append(f"{item.weight_calls:,} model calls for the weights")
        rest = item.model_calls - item.weight_calls
        if rest > 0:
            facts.append(f"{rest:,} to check and measure")
    if settings.get("variant_calls"):
        facts.append(f"{settings['variant_calls']:,} in all to compare with other settings")
    if settings.get("not_exact") and item.sampler != "exact":
        facts.append(f"not exact: {settings['not_exact']}")
    facts.append(f"seed {settings['seed']}")
    if background is not None:
        where = {"rows": f"background: the {background['rows']} rows of {background['path']}",
                 "model": "background recovered from the model"}  # fmt: skip
        facts.append(where.get(background["source"], f"background: {background['path']}"))
    return packed(facts, width)
