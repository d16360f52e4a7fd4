"""PNG: a bar chart for rows and texts, the picture with its superpixels for images."""

from __future__ import annotations

import io
import logging
import textwrap
import warnings
from typing import TYPE_CHECKING, Any

from limecli.report import caveats, words
from limecli.types import Attribution, Explanation, Report, Surrogate

if TYPE_CHECKING:
    from limecli.types import ByteArray, FloatArray

FOR, AGAINST = (45, 110, 245), (245, 120, 10)
_DPI = 150
_SIDE = 448  # small pictures are enlarged to this, so that outlines stay thin
_NUMBERED = 8
_UNSURE = "?"  # behind a superpixel's number
_WIDTH, _LINE = 8.0, 118  # of a chart in inches, of its caption in characters
_PICTURE_WIDTH, _PICTURE_LINE = 4.2, 62
_LOWEST, _TALLEST, _GAP = 1.0, 7.0, 0.15  # of a picture, between pictures, in inches
_FEWEST, _BARS, _CHARTS = 3, 60, 8  # more make a picture that nobody can open
_FOLDED = 4  # lines that a single fact may take


class PngFormat:
    """One explanation a file; several labels stand side by side."""

    suffixes = (".png",)
    one_each = True
    binary = True

    def render(self, report: Report) -> bytes:
        """The picture's bytes, equal for equal reports."""
        logging.getLogger("matplotlib").setLevel(
            logging.ERROR
        )  # fonts and caches are its own affair
        item = next(item for item in report.explanations if isinstance(item, Explanation))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # glyphs that the font lacks show as boxes
            figure = (_picture if item.instance.kind == "image" else _bars)(item, report)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
        return buffer.getvalue()


def _literal(*texts: Any) -> None:
    """File names and values are data: a dollar sign starts no formula."""
    for text in texts:
        text.set_parse_math(False)


def _short(text: str, width: int) -> str:
    printable = _printable(text)
    return textwrap.shorten(printable, width, placeholder=" …") or printable[:width]


def _middle(text: str, width: int) -> str:
    """Cut in the middle: the numbers of a condition stand at both ends."""
    printable = " ".join(_printable(text).split())
    if len(printable) <= width:
        return printable
    end = width // 3
    return f"{printable[: width - end - 1]}…{printable[-end:]}"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "·" for char in text)


def _bars(item: Explanation, report: Report) -> Any:
    """A chart for each label, what must be known of it below."""
    from matplotlib.figure import Figure

    surrogates = item.surrogates[:_CHARTS]
    common = _common(item, report, _LINE)
    captions = [
        "\n".join(_folded([*_own(item, one, report, _LINE), *common], _LINE)) for one in surrogates
    ]
    bars = max(_FEWEST, *(min(_BARS, len(surrogate.attributions)) for surrogate in surrogates))
    lines = max(caption.count("\n") + 1 for caption in captions)
    height = 1.1 + 0.34 * bars + 0.17 * lines
    figure = Figure(figsize=(_WIDTH * len(surrogates), height), layout="constrained")
    parts = figure.subfigures(1, len(surrogates), squeeze=False)[0]
    for part, surrogate, caption in zip(parts, surrogates, captions, strict=True):
        where = _short(words.title(item, report), 40)
        title = part.suptitle(
            f"{_short(words.question(surrogate, report), 50)}   {where}",
            x=0.01, ha="left", fontsize=11,
        )  # fmt: skip
        below = part.supxlabel(caption, x=0.01, ha="left", fontsize=8, color="0.35")
        _literal(title, below)
        _chart(part.subplots(), surrogate, item.instance.kind, bars)
    return figure


def _chart(axis: Any, surrogate: Surrogate, kind: str, room: int) -> None:
    """Bars with whiskers, the strongest on top of `room` places; pale where the sign is unsure."""
    parts = surrogate.attributions[:_BARS][::-1]
    largest = words.largest_weight(parts)
    for y, part in enumerate(parts):
        color = _unit(FOR if part.weight > 0 else AGAINST)
        low, high = _ends(part)
        bar = axis.barh(y, part.weight, color=color, height=0.7)
        bar.patches[0].set_alpha(0.4 if words.unsure(part) else None)
        if low < high:
            axis.plot([low, high], [y, y], color="0.2", linewidth=1.2)
            axis.plot([low, high], [y, y], "|", color="0.2", markersize=6)
        right = part.weight >= 0
        axis.annotate(
            words.weight(part.weight, largest),
            (max(high, 0.0) if right else min(low, 0.0), y),
            xytext=(4 if right else -4, 0), textcoords="offset points",
            ha="left" if right else "right", va="center", fontsize=8,
        )  # fmt: skip
    labels = []
    for part in parts:
        label = part.condition or part.feature
        value = words.cell(part) if kind == "tabular" else "-"
        labels.append(_middle(label if value == "-" else f"{label} ({value})", 48))
    axis.set_yticks(range(len(parts)), labels)
    axis.set_ylim(len(parts) - room - 0.6, len(parts) - 0.4)
    axis.axvline(0, color="0.3", linewidth=0.8)
    axis.margins(x=0.18)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("weight: against < 0 < for", fontsize=8, color="0.35")
    _literal(*axis.get_yticklabels())


def _ends(part: Attribution) -> tuple[float, float]:
    """The interval, or the weight twice."""
    if part.low is None or part.high is None:
        return part.weight, part.weight
    return min(part.low, part.weight), max(part.high, part.weight)


def _own(item: Explanation, surrogate: Surrogate, report: Report, width: int) -> list[str]:
    """What must be known of one label's weights, as under the terminal's table."""
    lines = []
    hidden = len(surrogate.attributions) - _BARS
    if hidden > 0 and item.instance.kind != "image":
        lines.append(f"... and {hidden} weaker features: --json lists all")
    lines += caveats.verdict(item, surrogate, report, width)
    lines += caveats.chances(surrogate)
    ties = words.tied(surrogate)
    if ties:
        lines.append(f"order not supported within the ranks {', '.join(ties)}")
    return lines


def _common(item: Explanation, report: Report, width: int) -> list[str]:
    """What must be known of all labels' weights."""
    hidden = len(item.surrogates) - _CHARTS
    return [
        *([f"{hidden} more labels: --json lists all"] if hidden > 0 else []),
        *caveats.basis(item, report, width),
        *caveats.packed(caveats.brief(item, report), width),
        f"model {report.model['name']}",
    ]


def _folded(lines: list[str], width: int) -> list[str]:
    """Lines no longer than `width`; of what takes very many, the first."""
    found = []
    for line in lines:
        parts = textwrap.wrap(_printable(line), width)
        if len(parts) > _FOLDED:
            parts = [*parts[: _FOLDED - 1], parts[_FOLDED - 1][: width - 2] + " …"]
        found += parts
    return found


def _unit(color: tuple[int, int, int]) -> tuple[float, ...]:
    return tuple(level / 255 for level in color)


def _picture(item: Explanation, report: Report) -> Any:
    """The picture, and beside it what each label's superpixels say; the facts below them."""
    from matplotlib.figure import Figure

    surrogates = item.surrogates[:_CHARTS]
    titles = [words.title(item, report)]
    pictures: list[Any] = [item.image]
    facts = [_common(item, report, _PICTURE_LINE)]
    for surrogate in surrogates:
        titles.append(f"{surrogate.label}   {words.number(surrogate.model_prediction)}")
        pictures.append(overlay(item, surrogate, _SIDE))
        legend = ["blue: for, orange: against; numbers as in the table"]
        if _any_unsure(surrogate):
            legend.append(f"{_UNSURE} behind a number: the interval contains 0")
        facts.append([*legend, *_own(item, surrogate, report, _PICTURE_LINE)])
    captions = [_folded(lines, _PICTURE_LINE) for lines in facts]
    high, wide = item.instance.payload.shape[:2]
    side = min(_TALLEST, max(_LOWEST, _PICTURE_WIDTH * high / wide))
    below = 0.2 + 0.15 * max(map(len, captions))
    width, height = (_PICTURE_WIDTH + _GAP) * len(captions) + _GAP, side + below + 0.4
    figure = Figure(figsize=(width, height))
    for n, (title, pixels, lines) in enumerate(zip(titles, pictures, captions, strict=True)):
        left = (_GAP + n * (_PICTURE_WIDTH + _GAP)) / width
        box = (left, below / height, _PICTURE_WIDTH / width, side / height)
        axis = figure.add_axes(box)
        axis.imshow(pixels, interpolation="nearest")
        axis.set_axis_off()
        if n:
            _number(axis, surrogates[n - 1], pixels.shape[0] / high)
        _literal(
            axis.set_title(_short(title, 44), fontsize=10),
            figure.text(left, (below - 0.1) / height, "\n".join(lines), va="top", fontsize=7.5,
                        color="0.35", linespacing=1.25),
        )  # fmt: skip
    return figure


def _any_unsure(surrogate: Surrogate) -> bool:
    return any(words.unsure(part) for part in surrogate.attributions[:_NUMBERED])


def _number(axis: Any, surrogate: Surrogate, factor: float) -> None:
    """Write the numbers of the heaviest superpixels on them."""
    from matplotlib.patheffects import withStroke

    for part in surrogate.attributions[:_NUMBERED]:
        if part.centroid is not None and abs(part.weight) > words.NOISE:
            y, x = part.centroid
            axis.text(
                (x + 0.5) * factor,
                (y + 0.5) * factor,
                f"{part.index}{_UNSURE if words.unsure(part) else ''}",
                color="white",
                fontsize=8,
                ha="center",
                va="center",
                path_effects=[withStroke(linewidth=2, foreground="black")],
            )


def overlay(item: Explanation, surrogate: Surrogate, side: int = 1) -> ByteArray:
    """`uint8[h, w, 3]`: the picture in grey, superpixels tinted by weight and outlined.

    Blue speaks for the label, orange against it; the strength of the tint is |weight| over the
    largest one. The picture is enlarged by a whole factor until it has at least `side` pixels.
    """
    import numpy as np

    if item.image is None or item.segmentation is None:
        raise ValueError("an overlay needs a picture and its segmentation")
    factor = max(1, -(-side // max(item.image.shape[:2])))
    grow = np.ones((factor, factor), dtype=np.int64)
    labels = np.kron(item.segmentation.labels, grow)
    image = np.kron(item.image, grow[..., None])
    weights: FloatArray = np.zeros(item.segmentation.count)
    for part in surrogate.attributions:
        weights[part.index] = part.weight
    largest = float(np.abs(weights).max())
    weights = weights / largest if largest > words.NOISE else np.zeros_like(weights)
    strength = np.abs(weights)[labels][..., None]
    grey = image.mean(axis=2, keepdims=True)
    base = 0.75 * np.repeat(grey, 3, axis=2) + 0.25 * image
    tint = np.where((weights > 0)[labels][..., None], FOR, AGAINST)
    # A tint must show on black as on white: half of it covers, half of it takes on the picture.
    alpha = 0.7 * strength
    mixed = base * (1 - alpha) + tint * alpha * (0.5 + base / 255)
    mixed[_outlines(labels, strength[..., 0] >= 0.25)] = 255.0
    pixels: ByteArray = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return pixels


def _outlines(labels: Any, strong: Any) -> Any:
    """Pixels where a strong superpixel meets another one."""
    import numpy as np

    edge = np.zeros(labels.shape, dtype=bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[:-1] |= down & (strong[1:] | strong[:-1])
    edge[:, :-1] |= right & (strong[:, 1:] | strong[:, :-1])
    return edge
