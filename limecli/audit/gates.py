"""Gates of an audit: what each decision, and all of them together, must reach."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from limecli.errors import UsageError

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_EXPRESSION = re.compile(rf"\s*([A-Za-z_][\w.]*)\s*(<=|>=|<|>)\s*({_NUMBER})\s*(%?)\s*")
_AMOUNT = re.compile(rf"\s*({_NUMBER})\s*(%?)\s*")
_SPREADS = ("fidelity", "fidelity_rows", "stability", "gap", "output")
_MEASURES = ("mean", "min", "p01", "p05", "p25", "median", "p75", "p95", "p99", "max")
_COUNTS = ("decisions", "explained", "skipped", "below")
_WORDS = ("low", "fair", "good", "undefined")

# What --fail-on may name -> where it stands in the summary. Values are numbers in the unit of what
# they measure; counts may also be given as a share of all decisions; words are shares already.
_VALUES = {f"{name}.{measure}": (name, measure) for name in _SPREADS for measure in _MEASURES}
_COUNTED = {
    **{name: ("counts", name) for name in _COUNTS},
    **{f"counts.{name}": ("counts", name) for name in _COUNTS},
    **{f"{name}.unknown": (name, "unknown") for name in _SPREADS},
}
_SHARES = {word: ("words", word, "share") for word in _WORDS}


@dataclass(frozen=True)
class _Condition:
    """A --fail-on: the gate fails where it holds."""

    text: str
    name: str
    sign: str
    value: float
    percent: bool

    def failure(self, content: Mapping[str, Any]) -> str | None:
        found, shown = self._found(content)
        if found is None:  # what could not be measured has not been reached
            return f"{self.name} could not be measured, --fail-on asks for it ({self.text})"
        if not _OPERATORS[self.sign](found, self.value):
            return None
        return f"{self.name} is {shown}, --fail-on {self.text}"

    def _found(self, content: Mapping[str, Any]) -> tuple[float | None, str]:
        """The value in the unit of `value`, and as it is told."""
        if self.name in _COUNTED:
            count, of = _at(content, _COUNTED[self.name]), content["counts"]["decisions"]
            if count is None:
                return None, ""
            share = _percent(count, of)
            return (share if self.percent else count), f"{count:,} ({share:.3g} %)"
        if self.name in _SHARES:
            share = _at(content, _SHARES[self.name])
            if share is None:
                return None, ""
            return (100 * share if self.percent else share), f"{100 * share:.3g} %"
        found = _at(content, _VALUES[self.name])
        return found, "" if found is None else f"{found:.6g}"


@dataclass(frozen=True)
class Gates:
    """What to demand. The first three are of every explained label of a decision.

    `max_skipped` is a count ("10") or a share of all decisions ("1%"). Each of `fail_on` is
    "NAME OP VALUE" over the summary, such as "fidelity.median < 0.5" or "skipped > 1%". Raises
    UsageError for what cannot be read or names nothing.
    """

    min_fidelity: float | None = None
    min_stability: float | None = None
    max_gap: float | None = None
    max_skipped: str | None = None
    fail_on: tuple[str, ...] = ()
    _conditions: tuple[_Condition, ...] = field(init=False, repr=False, compare=False)
    _most_skipped: tuple[float, bool] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_conditions", tuple(_condition(text) for text in self.fail_on))
        most = None if self.max_skipped is None else _amount(self.max_skipped)
        object.__setattr__(self, "_most_skipped", most)
        if not self.per_decision and any(item.name.endswith("below") for item in self._conditions):
            raise UsageError(
                "--fail-on below: nothing is demanded of single decisions",
                "say what: --min-fidelity, --min-stability or --max-gap",
            )

    @property
    def per_decision(self) -> bool:
        """Whether anything is demanded of single decisions."""
        thresholds = (self.min_fidelity, self.min_stability, self.max_gap)
        return any(threshold is not None for threshold in thresholds)

    def below(self, record: Mapping[str, Any]) -> bool:
        """Whether an explained label of an audit's record misses what is demanded of it. What could
        not be measured has not been reached.
        """
        if not self.per_decision or record["status"] != "ok":
            return False
        return any(self._misses(label) for label in record["labels"])

    def _misses(self, label: Mapping[str, Any]) -> bool:
        for least, value in (
            (self.min_fidelity, label["fidelity"]),
            (self.min_stability, label["stability"]),
        ):
            if least is not None and (value is None or value < least):
                return True
        gap = abs(label["local_prediction"] - label["model_prediction"])
        return self.max_gap is not None and gap > self.max_gap

    def failures(self, content: Mapping[str, Any]) -> list[str]:
        """What a summary (`Summary.content()`, made with these gates) does not reach, a sentence
        each.
        """
        counts, found = content["counts"], []
        told = any(_COUNTED.get(item.name) == ("counts", "below") for item in self._conditions)
        if self.per_decision and counts["below"] and not told:
            found.append(
                f"{counts['below']:,} of {counts['explained']:,} explained decisions do not reach"
                f" {self._thresholds()}"
            )
        if self._most_skipped is not None:
            most, percent = self._most_skipped
            share = _percent(counts["skipped"], counts["decisions"])
            if (share if percent else counts["skipped"]) > most:
                found.append(
                    f"{counts['skipped']:,} of {counts['decisions']:,} decisions were skipped"
                    f" ({share:.3g} %), more than --max-skipped {self.max_skipped}"
                )
        failures = (condition.failure(content) for condition in self._conditions)
        return [*found, *(failure for failure in failures if failure is not None)]

    def _thresholds(self) -> str:
        given = (
            ("--min-fidelity", self.min_fidelity),
            ("--min-stability", self.min_stability),
            ("--max-gap", self.max_gap),
        )
        return ", ".join(f"{name} {value:g}" for name, value in given if value is not None)

    def content(self) -> dict[str, Any]:
        """What was demanded, JSON-ready."""
        return {
            "min_fidelity": self.min_fidelity,
            "min_stability": self.min_stability,
            "max_gap": self.max_gap,
            "max_skipped": self.max_skipped,
            "fail_on": list(self.fail_on),
        }


def _at(content: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """What stands there; None where there is nothing, as the output of a classification."""
    found: Any = content
    for name in path:
        found = None if found is None else found.get(name)
    return found


def _percent(count: float, of: float) -> float:
    return 100 * count / of if of else 0.0


def _condition(text: str) -> _Condition:
    found = _EXPRESSION.fullmatch(text)
    if found is None:
        raise UsageError(
            f"--fail-on {text!r} cannot be read: say NAME < VALUE (or <=, >, >=)",
            'for example --fail-on "fidelity.median < 0.5" or --fail-on "skipped > 1%"',
        )
    name, sign, percent = found[1], found[2], bool(found[4])
    if name not in _VALUES and name not in _COUNTED and name not in _SHARES:
        raise UsageError(f"--fail-on {text!r}: nothing is called {name}", f"one of: {_names()}")
    if percent and name in _VALUES:
        raise UsageError(f"--fail-on {text!r}: {name} is no count: give a number without %")
    value = _finite(found[3], f"--fail-on {text!r}")
    if name in _SHARES and not 0 <= value <= (100 if percent else 1):
        raise UsageError(
            f"--fail-on {text!r}: {name} is a share of the explained decisions",
            "say 20% or 0.2",
        )
    return _Condition(" ".join(text.split()), name, sign, value, percent)


def _amount(text: str) -> tuple[float, bool]:
    found = _AMOUNT.fullmatch(text)
    value = -1.0 if found is None else _finite(found[1], f"--max-skipped {text!r}")
    if found is None or value < 0 or (found[2] and value > 100):
        raise UsageError(
            f"--max-skipped {text!r} is neither a count nor a share",
            "say --max-skipped 10 or --max-skipped 1%",
        )
    return value, bool(found[2])


def _finite(text: str, where: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise UsageError(f"{where}: {text} is too large")
    return value


def _names() -> str:
    spreads = f"{{{', '.join(_SPREADS)}}}.{{{', '.join(_MEASURES)}, unknown}}"
    counts = ", ".join((*_COUNTS, *(f"counts.{name}" for name in _COUNTS), *_WORDS))
    return f"{counts}, {spreads}"
