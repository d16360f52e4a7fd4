"""What the terminal shows. Text from files is data: no markup, no control characters."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING

from limecli.report import caveats, words
from limecli.report.words import clean
from limecli.types import Attribution, Explanation, Report, Skipped, Surrogate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

FOR, AGAINST = "#5b9dff", "#ff9433"  # blue and orange: told apart by every kind of colour vision
_HALF, _LEAST_HALF = 16, 4  # characters of the longest bar, each side
_WHOLE, _READABLE, _LEAST_LABEL = 48, 24, 8  # characters of a label that wishes for more
_TOP_SUPERPIXELS = 12
_PREVIEW_COLUMNS = 64


class TerminalFormat:
    """The terminal's report as plain text, for files and pipes."""

    suffixes = (".txt",)
    one_each = False
    binary = False

    def render(self, report: Report) -> bytes:
        """No colour, nothing left out, as wide as it needs to be."""
        from rich.console import Console

        buffer = io.StringIO()
        show(report, Console(file=buffer, width=400, color_system=None, force_terminal=False))
        return buffer.getvalue().encode("utf-8", "backslashreplace")


def show(report: Report, console: Console) -> None:
    """Print a report; on a terminal long superpixel tables are cut, elsewhere nothing is."""
    limit = console.width if console.file.isatty() else None
    for i, item in enumerate(report.explanations):
        if i:
            console.print()
        if isinstance(item, Skipped):
            console.print(_plain(f" {item.id}   skipped: {item.reason}"), soft_wrap=True)
            continue
        for part, indent in _parts(item, report, console, limit):
            _print(part, indent, console, limit)
    if len(report.explanations) > 1:
        console.print()
    for line in caveats.footer(report):
        _print(_plain(line, "dim"), 2, console, limit)


def _print(part: Text, indent: int, console: Console, limit: int | None) -> None:
    from rich.padding import Padding
    from rich.text import Text

    if limit is None:
        console.print(Text(" " * indent) + part, soft_wrap=True)
    else:  # folded lines keep the indent
        console.print(Padding(part, (0, 0, 0, indent)))


def _plain(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(clean(text), style=style)


def _parts(
    item: Explanation, report: Report, console: Console, limit: int | None
) -> list[tuple[Text, int]]:
    """What to print of an explanation, and how far to indent it."""
    width = caveats.WIDTH if limit is None else min(limit - 2, caveats.WIDTH)
    parts = [(_head(item, report, limit), 0)]
    for surrogate in item.surrogates:
        if item.instance.kind == "text":
            parts.append((_highlighted(item, surrogate), 2))
        if item.instance.kind == "image" and limit is not None and _many_colours(console):
            parts.append((_preview(item, surrogate, console), 0))
        parts.append((_attributions(item, surrogate, report, limit), 0))
        lines = caveats.verdict(item, surrogate, report, width)
        parts += [(_plain(line, "dim"), 2) for line in lines]
    parts += [(_plain(line, "dim"), 2) for line in caveats.basis(item, report, width)]
    return parts


def _many_colours(console: Console) -> bool:
    return console.color_system in ("256", "truecolor", "windows")


def _head(item: Explanation, report: Report, limit: int | None) -> Text:
    """Model and instance on the left, the highest predictions on the right."""
    from rich.text import Text

    model = report.model
    what = f"{model['n_classes']} classes" if model["n_classes"] else "regression"
    left = [f"{model['name']}   {words.title(item, report)}", f"{model['estimator']} · {what}"]
    explained = {surrogate.index for surrogate in item.surrogates}
    scores = [score for n, score in enumerate(item.prediction) if n < 3 or score.index in explained]
    marks = [" <" if score.index in explained else "" for score in scores]
    names = _padded([clean(score.label) for score in scores])
    values = _padded([words.prediction(score.value, report) for score in scores], right=True)
    right = [f"{a}  {b}{mark}" for a, b, mark in zip(names, values, marks, strict=True)]
    least = 56 if limit is None or limit >= 80 else 0
    lefts = _padded([clean(line) for line in left], least=least)
    if limit is not None and _width(lefts[0]) + max(map(_width, right)) + 2 > limit:
        lefts, right = [*lefts, *right], []  # too narrow to stand side by side
    blank = " " * _width(lefts[0])
    text = Text()
    for n, (one, other) in enumerate(zip_longest(lefts, right, fillvalue="")):
        text.append(f" {one or blank}", style="bold" if n == 0 else "")
        text.append(f" {other}\n" if other else "\n")
    text.rstrip()
    return text


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _padded(texts: list[str], right: bool = False, least: int = 0) -> list[str]:
    """Texts filled up to the widest of them, as wide as a terminal shows them."""
    width = max((_width(text) for text in texts), default=0)
    gaps = [" " * (max(width, least) - _width(text)) for text in texts]
    return [gap + text if right else text + gap for text, gap in zip(texts, gaps, strict=True)]


def _attributions(
    item: Explanation, surrogate: Surrogate, report: Report, limit: int | None
) -> Text:
    """The weights as a table with bars. With a `limit`, no wider than that many characters."""
    from rich.text import Text

    shown = surrogate.attributions
    if limit is not None and item.instance.kind == "image":
        shown = shown[:_TOP_SUPERPIXELS]
    hidden = len(surrogate.attributions) - len(shown)
    labels = [
        clean(label)
        for label in (
            words.question(surrogate, report),
            *(part.condition or part.feature for part in shown),
        )
    ]
    widest = max(map(_width, labels))
    columns, half = _arranged(_layouts(item, surrogate, shown, limit), widest, limit)
    if limit is not None:
        labels = [_cut(label, limit - _taken(columns) - 2 * half) for label in labels]
    front = [
        "  ".join(cells)
        for cells in zip(
            _padded(labels), *(_padded(column, right=True) for column in columns), strict=True
        )
    ]
    rule = " " + "─" * (_width(front[0]) + 3 + half) + "┼" + "─" * half + "\n"
    text = Text()
    against, speaks_for = ("against ", " for") if half >= 8 else ("- ", " +")
    head = f"  {front[0]}  {against.rjust(half)}│{speaks_for}"
    text.append(f"{head}\n", style="bold")
    text.append(rule, style="dim")
    largest = words.largest_weight(shown)
    for line, part in zip(front[1:], shown, strict=True):
        text.append(f"  {line}  ")
        text.append_text(_bar(part, largest, half))
        text.append("\n")
    if not shown:
        text.append("  no feature has a weight\n")
    if hidden:
        text.append(f"  ... and {hidden} weaker superpixels: --json lists all\n", style="dim")
    text.append(rule, style="dim")
    text.rstrip()
    return text


def _layouts(
    item: Explanation, surrogate: Surrogate, shown: tuple[Attribution, ...], limit: int | None
) -> Iterator[list[list[str]]]:
    """The columns between label and bars, header first: all that is known, then less and less."""
    kind, largest = item.instance.kind, words.largest_weight(shown)
    heads = {"tabular": ["value"], "text": ["at"], "image": ["area", "centre (y, x)"]}[kind]
    most = 10_000 if limit is None else max(10, limit // 4)
    rows = [_details(part, kind) for part in shown]
    details = [[head, *(_cut(clean(row[n]), most) for row in rows)] for n, head in enumerate(heads)]
    weights = [["weight", *(words.weight(part.weight, largest) for part in shown)]]
    wide: list[list[str]] = []
    narrow: list[list[str]] = []
    if surrogate.interval or surrogate.no_interval:
        intervals = [words.interval(part, surrogate, largest) for part in shown]
        wide = [["95% interval", *intervals]]
        narrow = [["95% ±", *(words.margin(part, surrogate, largest) for part in shown)]]
    ranks: list[list[str]] = []
    if words.tied(surrogate):
        ranks = [["rank", *(words.rank(part) for part in shown)]]
    yield [*details, *weights, *wide, *_chances(surrogate, shown), *ranks]
    yield [*details, *weights, *wide, *ranks]
    yield [*details, *weights, *narrow, *ranks]
    yield [*weights, *narrow, *ranks]
    yield [*weights, *narrow]
    yield weights


def _chances(surrogate: Surrogate, shown: tuple[Attribution, ...]) -> list[list[str]]:
    """How sure each sign is, and a place among the strongest where not all have one."""
    if surrogate.interval in (None, "exact"):
        return []
    columns = [["P(sign)", *(words.chance(part.sign_probability) for part in shown)]]
    if any(part.top_probability not in (None, 1.0) for part in shown):
        head = f"P(top {len(surrogate.attributions)})"
        columns.append([head, *(words.chance(part.top_probability) for part in shown)])
    return columns


def _arranged(
    layouts: Iterator[list[list[str]]], widest: int, limit: int | None
) -> tuple[list[list[str]], int]:
    """The first layout with room for labels, and how many characters the longest bar has."""
    choices = list(layouts)
    if limit is None:
        return choices[0], _HALF
    rooms = [limit - _taken(columns) - 2 * _LEAST_HALF for columns in choices]
    # A label is cut before an interval goes, but an interval is shortened before a label is cut.
    for least, offered in ((_WHOLE, 3), (_READABLE, len(choices)), (_LEAST_LABEL, len(choices))):
        for columns, room in zip(choices[:offered], rooms[:offered], strict=True):
            if room >= min(least, widest):
                half = _LEAST_HALF + (room - widest) // 2
                return columns, max(_LEAST_HALF, min(_HALF, half))
    return choices[-1], _LEAST_HALF


def _taken(columns: list[list[str]]) -> int:
    """Characters of a line besides its label and its bars."""
    return sum(max(map(_width, column)) + 2 for column in columns) + 5


def _cut(text: str, width: int) -> str:
    from rich.cells import set_cell_size

    return text if _width(text) <= width else set_cell_size(text, width - 1) + "…"


def _details(part: Attribution, kind: str) -> list[str]:
    if kind == "tabular":
        return [words.cell(part)]
    if kind == "text":
        starts = [str(start) for start, _ in part.positions or ()]
        return [", ".join(starts[:4]) + (", ..." if len(starts) > 4 else "")]
    y, x = part.centroid or (0.0, 0.0)
    return [f"{part.area or 0:.1%}", f"{y:.0f}, {x:.0f}"]


def _bar(part: Attribution, largest: float, half: int) -> Text:
    """A bar to the side that the weight speaks for; of light shade where its sign is not sure."""
    from rich.text import Text

    weight = part.weight
    if largest < words.NOISE:
        return Text.assemble(" " * half, "│")
    block = caveats.UNSURE if words.unsure(part) else "█"
    blocks = block * max(round(abs(weight) / largest * half), 1 if weight else 0)
    if weight < 0:
        return Text.assemble((blocks.rjust(half), AGAINST), "│")
    return Text.assemble(" " * half, "│", (blocks, FOR))


def _highlighted(item: Explanation, surrogate: Surrogate) -> Text:
    """The text itself: words for the label on blue, against it on orange, stronger when heavier
    and sure.
    """
    from rich.text import Text

    payload: str = item.instance.payload
    parts = {span: part for part in surrogate.attributions for span in part.positions or ()}
    largest = words.largest_weight(surrogate.attributions) or 1.0
    text, end = Text(), 0
    for (start, stop), part in sorted(parts.items(), key=lambda found: found[0]):
        text.append(_clean_lines(payload[end:start]))
        strong = abs(part.weight) > largest / 2 and not words.unsure(part)
        color = FOR if part.weight > 0 else AGAINST
        style = f"{color} {'bold reverse' if strong else 'underline'}"
        text.append(_clean_lines(payload[start:stop]), style=style)
        end = stop
    text.append(_clean_lines(payload[end:]))
    return text


def _clean_lines(text: str) -> str:
    """As `clean`, but a text keeps its line breaks."""
    return "\n  ".join(clean(line.removesuffix("\r")) for line in text.split("\n"))


def _preview(item: Explanation, surrogate: Surrogate, console: Console) -> Text:
    """The picture in half blocks, superpixels tinted by their weight."""
    import numpy as np
    from PIL import Image
    from rich.text import Text

    from limecli.report.png import overlay

    pixels = overlay(item, surrogate)
    columns = min(_PREVIEW_COLUMNS, console.width - 4)
    rows = max(2, round(pixels.shape[0] / pixels.shape[1] * columns / 2) * 2)
    small = np.asarray(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BOX))
    text = Text()
    for upper, lower in zip(small[::2], small[1::2], strict=True):
        text.append("  ")
        for top, bottom in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append(
                "▀", style=f"rgb({','.join(map(str, top))}) on rgb({','.join(map(str, bottom))})"
            )
        text.append("\n")
    return text
