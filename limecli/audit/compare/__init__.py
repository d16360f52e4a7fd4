"""Two audits of the same decisions: which ones changed, and how.

Both are read once, decision by decision (see `pairing`); what stays in memory is counts, means per
feature and, where their orders differ, 24 bytes a decision.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from limecli.audit.compare.apart import LEVEL
from limecli.audit.compare.changes import KINDS, Change, Limits, Terms, judge
from limecli.audit.compare.envelopes import differing, terms_of
from limecli.audit.compare.means import Means
from limecli.audit.compare.pairing import pairs
from limecli.audit.places import malformed, unfinished
from limecli.report.jsonl import AuditFile, line_of

_FEATURES = 1000  # whose means are told
_WRONG = (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError)
_RULE = (
    "weight, sign and top count where the errors of the weights do not explain the change, at 95 %,"
    " divided by the number of weights of the decision (Bonferroni)"
)


@dataclass
class Comparison:
    """Counts of decisions. `counts` are those of each kind of change, `changed` of any of them.

    `old` and `new` are how many decisions each audit has, `both` those in both, `explained` those
    that both explain. Of these `other_input` have another input, `other_label` no label that both
    explain, `sampled` weights with a sampling error, `unjudged` weights of which an audit records
    no error. `transitions` counts (class before, class now). `notes` is what else a reader should
    know.
    """

    same_draws: bool
    differences: list[dict[str, Any]]
    means: Means
    counts: Counter[str] = field(default_factory=Counter)
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    old: int = 0
    new: int = 0
    both: int = 0
    explained: int = 0
    changed: int = 0
    other_input: int = 0
    other_label: int = 0
    sampled: int = 0
    unjudged: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def chance(self) -> float:
        """How many decisions chance alone may change, at most, in each of weight, sign and top."""
        return LEVEL * self.sampled

    @property
    def all(self) -> int:
        """Decisions of both audits, those that both have counted once."""
        return self.old + self.new - self.both

    def as_dict(self) -> dict[str, Any]:
        """All but the changed decisions themselves, as JSON."""
        return {
            "decisions": {
                "old": self.old, "new": self.new, "both": self.both, "explained": self.explained,
                "changed": self.changed, "other_input": self.other_input,
                "other_label": self.other_label, "without_errors": self.unjudged,
            },
            "counts": {kind: self.counts[kind] for kind in KINDS},
            "chance": {
                "rule": _RULE, "same_draws": self.same_draws, "decisions": self.sampled,
                "at_most": self.chance,
            },
            "differences": self.differences,
            "transitions": [
                {"old": old, "new": new, "count": count}
                for (old, new), count in self.transitions.most_common()
            ],
            "features": self.means.strongest(_FEATURES),
            "notes": self.notes,
        }  # fmt: skip


def compare_audits(old: AuditFile, new: AuditFile, limits: Limits, kept: BinaryIO) -> Comparison:
    """Compare two audits; `kept` gets a JSON line for every decision that changed.

    Raises UsageError for audits of other kinds or tasks, ReportError for what is no audit.
    """
    terms = terms_of(old.envelope, new.envelope)
    means = Means(terms.same_draws)
    found = Comparison(terms.same_draws, differing(old.envelope, new.envelope), means)
    for one, other in pairs(old, new):
        try:
            change = judge(one, other, terms, limits)
            _count(found, change, terms)
            if change.found:
                found.changed += 1
                kept.write(line_of(change.as_dict()) + b"\n")
        except _WRONG:
            name = (one or other or {}).get("id")
            raise malformed(new.path, f"decision {name} (or in {old.path})") from None
    found.notes += [note for note in map(unfinished, (old, new)) if note]
    if means.full:
        found.notes.append("further features have no mean: there are too many")
    return found


def _count(found: Comparison, change: Change, terms: Terms) -> None:
    found.old += change.old is not None
    found.new += change.new is not None
    found.both += change.old is not None and change.new is not None
    found.counts.update(change.found.keys())
    if not change.explained or change.old is None or change.new is None:
        return
    found.explained += 1
    found.other_input += change.other_input
    found.other_label += change.other_label
    found.sampled += change.tests > 0
    found.unjudged += change.unjudged > 0
    if not terms.regression:
        classes = (side["prediction"][0]["label"] for side in (change.old, change.new))
        before, now = classes
        if before != now:
            found.transitions[before, now] += 1
    if change.labels and terms.kind != "image":
        _, one, other = change.labels[0]
        found.means.add(one, other)
