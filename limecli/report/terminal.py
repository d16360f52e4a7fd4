"""What the terminal shows. Text from files is data: no markup, no control characters."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from limecli.report import words
from limecli.types import Attribution, Explanation, Report, Skipped, Surrogate

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
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
    for i, item in enumerate(report.explanations):
        if i:
            console.print()
        if isinstance(item, Skipped):
            console.print(_plain(f" {item.id}   skipped: {item.reason}"), soft_wrap=True)
            continue
        for part in _parts(item, report, console):
            console.print(part, soft_wrap=not console.is_terminal)


def clean(text: str) -> str:
    """Control characters made visible: a file's text cannot steer the terminal."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


def _plain(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(clean(text), style=style)


def _parts(item: Explanation, report: Report, console: Console) -> list[RenderableType]:
    parts: list[RenderableType] = [_head(item, report)]
    for surrogate in item.surrogates:
        if item.instance.kind == "text":
            parts.append(_highlighted(item, surrogate))
        if item.instance.kind == "image" and console.is_terminal and _many_colours(console):
            parts.append(_preview(item, surrogate, console))
        parts.extend(_attributions(item, surrogate, report, console.is_terminal))
        parts.extend(_plain(f"  {line}", "dim") for line in words.footers(item, surrogate, report))
    return parts


def _many_colours(console: Console) -> bool:
    return console.color_system in ("256", "truecolor", "windows")


def _head(item: Explanation, report: Report) -> RenderableType:
    """Model and instance on the left, the highest predictions on the right."""
    from rich.table import Table

    model = report.model
    classes = model["n_classes"]
    left = [f" {model['name']}   {words.title(item, report)}"]
    what = f"{classes} classes" if classes else "regression"
    left.append(f" {model['estimator']} · {what}")
    explained = {surrogate.index for surrogate in item.surrogates}
    shown = [score for n, score in enumerate(item.prediction) if n < 3 or score.index in explained]
    grid = Table.grid(padding=(0, 2))
    grid.add_column(min_width=56)
    grid.add_column()
    grid.add_column(justify="right")
    for n in range(max(len(left), len(shown))):
        row = [_plain(left[n] if n < len(left) else "", "bold" if n == 0 else "")]
        if n < len(shown):
            mark = " <" if shown[n].index in explained else ""
            row += [_plain(shown[n].label), _plain(words.number(shown[n].value) + mark.ljust(2))]
        grid.add_row(*row)
    return grid


def _attributions(
    item: Explanation, surrogate: Surrogate, report: Report, cut: bool
) -> list[RenderableType]:
    from rich.table import Table

    kind = item.instance.kind
    shown = surrogate.attributions
    hidden = 0
    if cut and kind == "image" and len(shown) > _TOP_SUPERPIXELS:
        hidden, shown = len(shown) - _TOP_SUPERPIXELS, shown[:_TOP_SUPERPIXELS]
    largest = max((abs(part.weight) for part in shown), default=0.0)
    table = Table(box=None, padding=(0, 1), pad_edge=True, show_edge=False, header_style="bold")
    table.add_column(_plain(" " + words.question(surrogate, report)), overflow="fold")
    middle = {"tabular": ["value"], "text": ["at"], "image": ["area", "centre (y, x)"]}[kind]
    for name in [*middle, "weight"]:
        table.add_column(name, justify="right", overflow="fold")
    table.add_column(_plain("against".rjust(_HALF) + " │ for"), no_wrap=True)
    for part in shown:
        label = part.condition or part.feature
        table.add_row(
            _plain(f" {label}"),
            *(_plain(text) for text in _details(part, kind)),
            _plain(words.weight(part.weight, largest)),
            _bar(part.weight, largest),
        )
    lines: list[RenderableType] = [table]
    if not shown:
        lines.append(_plain("  no feature has a weight"))
    if hidden:
        lines.append(_plain(f"  ... and {hidden} weaker superpixels: --json lists all", "dim"))
    return lines


def _details(part: Attribution, kind: str) -> list[str]:
    if kind == "tabular":
        return [words.cell(part.value)]
    if kind == "text":
        starts = [str(start) for start, _ in part.positions or ()]
        return [", ".join(starts[:4]) + (", ..." if len(starts) > 4 else "")]
    y, x = part.centroid or (0.0, 0.0)
    return [f"{part.area or 0:.1%}", f"{y:.0f}, {x:.0f}"]


def _bar(weight: float, largest: float) -> Text:
    from rich.text import Text

    length = round(abs(weight) / largest * _HALF) if largest else 0
    blocks = "█" * max(length, 1 if weight else 0)
    if weight < 0:
        return Text.assemble((blocks.rjust(_HALF), AGAINST), " │ ")
    return Text.assemble(" " * _HALF, " │ ", (blocks, FOR))


def _highlighted(item: Explanation, surrogate: Surrogate) -> Text:
    """The text itself: words for the label on blue, against it on orange, stronger when heavier."""
    from rich.text import Text

    payload: str = item.instance.payload
    weights = {
        span: part.weight for part in surrogate.attributions for span in part.positions or ()
    }
    largest = max((abs(value) for value in weights.values()), default=0.0) or 1.0
    text, end = Text("  "), 0
    for (start, stop), value in sorted(weights.items()):
        text.append(clean(payload[end:start]))
        strong = "bold reverse" if abs(value) > largest / 2 else "underline"
        style = f"{FOR if value > 0 else AGAINST} {strong}"
        text.append(clean(payload[start:stop]), style=style)
        end = stop
    text.append(clean(payload[end:]))
    return text


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
