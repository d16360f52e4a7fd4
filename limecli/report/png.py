"""PNG: a bar chart for rows and texts, the picture with its superpixels for images."""

from __future__ import annotations

import io
import logging
import textwrap
import warnings
from typing import TYPE_CHECKING, Any

from limecli.report import words
from limecli.types import Explanation, Report, Surrogate

if TYPE_CHECKING:
    from limecli.types import ByteArray, FloatArray

FOR, AGAINST = (45, 110, 245), (245, 120, 10)
_DPI = 150
_SIDE = 448  # small pictures are enlarged to this, so that outlines stay thin
_NUMBERED = 8


class PngFormat:
    """One explanation a file; several labels stand side by side."""

    suffixes = (".png",)
    one_each = True

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


def _figure(count: int, width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count, height), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]


def _literal(*texts: Any) -> None:
    """File names and values are data: a dollar sign starts no formula."""
    for text in texts:
        text.set_parse_math(False)


def _short(text: str, width: int) -> str:
    printable = "".join(char if char.isprintable() else "·" for char in text)
    return textwrap.shorten(printable, width, placeholder=" …") or printable[:width]


def _bars(item: Explanation, report: Report) -> Any:
    most = max((len(surrogate.attributions) for surrogate in item.surrogates), default=1)
    figure, axes = _figure(len(item.surrogates), 8.0, 1.7 + 0.34 * max(most, 3))
    for axis, surrogate in zip(axes, item.surrogates, strict=True):
        parts = surrogate.attributions[::-1]
        weights = [part.weight for part in parts]
        colors = [_unit(FOR if weight > 0 else AGAINST) for weight in weights]
        bars = axis.barh(range(len(parts)), weights, color=colors, height=0.7)
        largest = max((abs(weight) for weight in weights), default=0.0)
        axis.bar_label(bars, [words.weight(weight, largest) for weight in weights], padding=3,
                       fontsize=8)  # fmt: skip
        labels = []
        for part in parts:
            label = part.condition or part.feature
            value = words.cell(part) if item.instance.kind == "tabular" else "-"
            labels.append(_short(label if value == "-" else f"{label}   ({value})", 48))
        axis.set_yticks(range(len(parts)), labels)
        axis.axvline(0, color="0.3", linewidth=0.8)
        axis.margins(x=0.18)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
        where = _short(words.title(item, report), 40)
        title = axis.set_title(
            f"{_short(words.question(surrogate, report), 50)}   {where}", loc="left", fontsize=11
        )
        text = _caption(surrogate, str(report.model["name"]))
        caption = axis.set_xlabel(text, fontsize=8, color="0.35", loc="left")
        _literal(title, caption, *axis.get_yticklabels())
    return figure


def _caption(surrogate: Surrogate, model_name: str) -> str:
    local, model = (
        words.number(surrogate.local_prediction),
        words.number(surrogate.model_prediction),
    )
    return (
        f"weight: against < 0 < for\n{words.fidelity_words(surrogate)}\n"
        f"surrogate {local}, model {model} ({_short(model_name, 40)})"
    )


def _unit(color: tuple[int, int, int]) -> tuple[float, ...]:
    return tuple(level / 255 for level in color)


def _picture(item: Explanation, report: Report) -> Any:
    figure, axes = _figure(len(item.surrogates) + 1, 4.2, 4.9)
    axes[0].imshow(item.image, interpolation="nearest")
    title = axes[0].set_title(_short(words.title(item, report), 44), fontsize=10)
    caption = axes[0].set_xlabel(_short(str(report.model["name"]), 52), fontsize=8, color="0.35")
    _literal(title, caption)
    for axis, surrogate in zip(axes[1:], item.surrogates, strict=True):
        pixels = overlay(item, surrogate, _SIDE)
        axis.imshow(pixels, interpolation="nearest")
        _number(axis, surrogate, pixels.shape[0] / item.instance.payload.shape[0])
        score = words.number(surrogate.model_prediction)
        title = axis.set_title(_short(f"{surrogate.label}   {score}", 44), fontsize=10)
        caption = axis.set_xlabel(
            "blue: for, orange: against; numbers as in the table\n"
            + textwrap.fill(words.fidelity_words(surrogate), 52),
            fontsize=8,
            color="0.35",
        )
        _literal(title, caption)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    return figure


def _number(axis: Any, surrogate: Surrogate, factor: float) -> None:
    """Write the numbers of the heaviest superpixels on them."""
    from matplotlib.patheffects import withStroke

    for part in surrogate.attributions[:_NUMBERED]:
        if part.centroid is not None and abs(part.weight) > words.NOISE:
            y, x = part.centroid
            axis.text(
                (x + 0.5) * factor,
                (y + 0.5) * factor,
                str(part.index),
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
