"""What the terminal shows. Text from files is data: no markup, no control characters."""

from __future__ import annotations

import io
from itertools import zip_longest
from typing import TYPE_CHECKING

from limecli.report import words
from limecli.report.words import clean
from limecli.types import Attribution, Explanation, Report, Skipped, Surrogate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

FOR, AGAINST = "#5b9dff", "#ff9433"  # blue and orange: told apart by every kind of colour vision
_HALF = 16  # characters of the longest bar, each side
_TOP_SUPERPIXELS = 12
_PREVIEW_COLUMNS = 64


class TerminalFormat:
    """The terminal's report as plain text, for files and pipes."""

    suffixes = (".txt",)
    one_each = False

    def render(self, report: Report) -> bytes:
        """No colour, nothing left out, as wide as it needs to be."""
        from rich.console import Console

        buffer = io.StringIO()
        show(report, Console(file=buffer, width=400, color_system=None, force_terminal=False))
        return buffer.getvalue().encode("utf-8", "backslashreplace")


def show(report: Report, console: Console) -> None:
    """Print a report; on a terminal long superpixel tables are cut, elsewhere nothing is."""
    from rich.padding import Padding
    from rich.text import Text

    limit = console.width if console.file.isatty() else None
    for i, item in enumerate(report.explanations):
        if i:
            console.print()
        if isinstance(item, Skipped):
            console.print(_plain(f" {item.id}   skipped: {item.reason}"), soft_wrap=True)
            continue
        for part, indent in _parts(item, report, console, limit):
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
    parts = [(_head(item, report, limit), 0)]
    for surrogate in item.surrogates:
        if item.instance.kind == "text":
            parts.append((_highlighted(item, surrogate), 2))
        if item.instance.kind == "image" and limit is not None and _many_colours(console):
            parts.append((_preview(item, surrogate, console), 0))
        parts.append((_attributions(item, surrogate, report, limit), 0))
        parts += [(_plain(line, "dim"), 2) for line in words.verdict(surrogate, report)]
    parts += [(_plain(line, "dim"), 2) for line in words.basis(item, report)]
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

    kind = item.instance.kind
    shown = surrogate.attributions
    if limit is not None and kind == "image":
        shown = shown[:_TOP_SUPERPIXELS]
    hidden = len(surrogate.attributions) - len(shown)
    largest = max((abs(part.weight) for part in shown), default=0.0)
    heads = {"tabular": ["value"], "text": ["at"], "image": ["area", "centre (y, x)"]}[kind]
    most = 10_000 if limit is None else max(10, limit // 4)
    columns = [
        [head, *(_cut(clean(row[n]), most) for row in [_details(part, kind) for part in shown])]
        for n, head in enumerate(heads)
    ]
    columns.append(["weight", *(words.weight(part.weight, largest) for part in shown)])
    labels = [
        words.question(surrogate, report),
        *(part.condition or part.feature for part in shown),
    ]
    labels = [clean(label) for label in labels]
    taken = sum(max(map(_width, column)) + 2 for column in columns) + 4
    half = _HALF
    if limit is not None:
        half = max(4, min(_HALF, (limit - taken - max(map(_width, labels)) - 5) // 2))
        labels = [_cut(label, max(12, limit - taken - 2 * half - 5)) for label in labels]
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
    for line, part in zip(front[1:], shown, strict=True):
        text.append(f"  {line}  ")
        text.append_text(_bar(part.weight, largest, half))
        text.append("\n")
    if not shown:
        text.append("  no feature has a weight\n")
    if hidden:
        text.append(f"  ... and {hidden} weaker superpixels: --json lists all\n", style="dim")
    text.append(rule, style="dim")
    text.rstrip()
    return text


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


def _bar(weight: float, largest: float, half: int) -> Text:
    from rich.text import Text

    if largest < words.NOISE:
        return Text.assemble(" " * half, "│")
    blocks = "█" * max(round(abs(weight) / largest * half), 1 if weight else 0)
    if weight < 0:
        return Text.assemble((blocks.rjust(half), AGAINST), "│")
    return Text.assemble(" " * half, "│", (blocks, FOR))


def _highlighted(item: Explanation, surrogate: Surrogate) -> Text:
    """The text itself: words for the label on blue, against it on orange, stronger when heavier."""
    from rich.text import Text

    payload: str = item.instance.payload
    weights = {
        span: part.weight for part in surrogate.attributions for span in part.positions or ()
    }
    largest = max((abs(value) for value in weights.values()), default=0.0) or 1.0
    text, end = Text(), 0
    for (start, stop), value in sorted(weights.items()):
        text.append(_clean_lines(payload[end:start]))
        strong = "bold reverse" if abs(value) > largest / 2 else "underline"
        style = f"{FOR if value > 0 else AGAINST} {strong}"
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
