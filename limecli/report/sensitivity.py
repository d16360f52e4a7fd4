"""`--sensitivity`: which signs and ranks hold with other widths, bins and backgrounds."""

from __future__ import annotations

from dataclasses import dataclass

from limecli.report import words
from limecli.types import Surrogate

_MOST = 10  # features that are listed one by one


@dataclass(frozen=True)
class Held:
    """One feature over all variants: its sign in each ("+", "-", "0", "." where it is not among the
    chosen), and its lowest and highest rank.
    """

    feature: str
    index: int
    signs: str
    ranks: tuple[int, int]

    @property
    def holds(self) -> bool:
        """Whether no variant contradicts another; one that leaves the feature out does not."""
        return not {"+", "-"} <= set(self.signs)


def held(surrogate: Surrogate) -> list[Held]:
    """The shown features of a surrogate, strongest first; empty where nobody asked."""
    if not surrogate.variants:
        return []
    found = []
    for part in surrogate.attributions:
        signs, ranks = "", []
        for variant in surrogate.variants:
            order = [index for index, _ in variant.effects]
            effect = dict(variant.effects).get(part.index)
            signs += "." if effect is None else _sign(effect)
            if effect is not None:
                ranks.append(order.index(part.index) + 1)
        found.append(Held(part.feature, part.index, signs, (min(ranks), max(ranks))))
    return found


def _sign(effect: float) -> str:
    return "0" if abs(effect) <= words.NOISE else "+" if effect > 0 else "-"


def lines(surrogate: Surrogate) -> list[str]:
    """A table without rules: the variants by number, each feature's signs and ranks in them."""
    features = held(surrogate)
    if not features or not surrogate.variants:
        return []
    names = "; ".join(f"{i} {v.name}" for i, v in enumerate(surrogate.variants, start=1))
    doubtful = [one.feature for one in features if not one.holds]
    count = len(surrogate.variants)
    summary = (
        f"signs that do not hold in all {count} variants: {', '.join(doubtful)}"
        if doubtful
        else f"no sign changes in {count} variants"
    )
    rows = [
        f"  {' '.join(one.signs)}  rank {words.span(*one.ranks)}  {one.feature}"
        for one in features[:_MOST]
    ]
    told = "+ where the feature, as it is here, moves the surrogate up"
    return [f"sensitivity: {summary} ({told})", f"  {names}", *rows]
