"""From `uint8[n, h, w, 3]` to the array that an image network was trained on."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limecli.errors import ModelError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from limecli.types import ByteArray

    Pixels = NDArray[np.float32]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
NAMED = ("none", "scale01", "scale-1-1", "imagenet", "caffe")
_MEAN_STD = re.compile(r"-?\d+(\.\d+)?,\d+(\.\d+)?")


@dataclass(frozen=True)
class PictureInput:
    """The input of an image network: size (None where it takes any), channels, their place."""

    height: int | None
    width: int | None
    channels: int
    channels_first: bool

    @property
    def shape(self) -> tuple[int | None, int | None, int]:
        """(height, width, channels), whatever the network's own order."""
        return self.height, self.width, self.channels


def picture_input(shape: tuple[int | None, ...], name: str) -> PictureInput:
    """Read (n, h, w, c) or (n, c, h, w). Raises ModelError when it is neither."""
    if len(shape) != 4:
        raise ModelError(
            f"{name} takes an input of shape {_shown(shape)}, not pictures",
            "limecli tabular explains models over rows",
        )
    _, a, b, c = shape
    # Networks that leave a size open still name their channels.
    if c in (1, 3):
        return PictureInput(a, b, c, channels_first=False)
    if a in (1, 3):
        return PictureInput(b, c, a, channels_first=True)
    raise ModelError(
        f"{name} takes pictures of shape {_shown(shape)}: limecli handles 1 or 3 channels",
        "first or last, as in (n, 224, 224, 3)",
    )


def _shown(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


def preprocessor(name: str) -> Callable[[Pixels], Any]:
    """The function behind a `--preprocess` name: `float32[n, h, w, c]` of 0..255 -> model scale.

    Besides the names in NAMED: "MEAN,STD" for (pixel - MEAN) / STD, and "package.module:function",
    which runs the user's own code. Raises UsageError for anything else.
    """
    import numpy as np

    def scaled(mean: Any, std: Any) -> Callable[[Pixels], Any]:
        offset, divisor = np.float32(mean), np.float32(std)
        return lambda pixels: (pixels - offset) / divisor

    if name == "none":
        return lambda pixels: pixels
    if name == "scale01":
        return scaled(0.0, 255.0)
    if name == "scale-1-1":
        return scaled(127.5, 127.5)
    if name == "imagenet":
        return scaled(np.multiply(IMAGENET_MEAN, 255.0), np.multiply(IMAGENET_STD, 255.0))
    if name == "caffe":
        mean_bgr = np.array(CAFFE_MEAN_BGR, dtype=np.float32)
        return lambda pixels: pixels[..., ::-1] - mean_bgr
    if _MEAN_STD.fullmatch(name):
        mean, std = (float(part) for part in name.split(","))
        if std == 0:
            raise UsageError(f"--preprocess {name} divides by zero")
        return scaled(mean, std)
    if ":" in name:
        return _imported(name)
    raise UsageError(
        f"--preprocess {name} is not known",
        f"one of {', '.join(NAMED)}, MEAN,STD as in 127.5,127.5, or package.module:function",
    )


def _imported(name: str) -> Callable[[Pixels], Any]:
    module_name, _, function_name = name.partition(":")
    if "" not in sys.path:
        sys.path.append("")  # last: a file here must not stand in for a library
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"--preprocess {name} cannot be imported: {error}") from None
    if not callable(function):
        raise UsageError(f"--preprocess {name} is not a function")
    return function  # type: ignore[no-any-return]


def check_channels(name: str, channels: int) -> None:
    """Raise UsageError for a preprocessing of three colours before a network of one channel."""
    if channels == 1 and name in ("imagenet", "caffe"):
        raise UsageError(
            f"--preprocess {name} is for three colours, but the network takes one channel",
            "use none, scale01, scale-1-1 or MEAN,STD",
        )


def to_model_scale(
    batch: ByteArray, picture: PictureInput, preprocess: Callable[[Pixels], Any]
) -> Pixels:
    """`uint8[n, h, w, 3]` -> `float32` batch in the network's channel count, scale and order."""
    import numpy as np

    pixels = np.asarray(batch)
    if picture.channels == 1:
        pixels = pixels[..., :1]  # the picture was made grey on reading: the channels are equal
    scaled = np.asarray(preprocess(pixels.astype(np.float32)), dtype=np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)) if picture.channels_first else scaled


def chosen_preprocess(choice: str | None, scales_itself: bool) -> tuple[str, tuple[str, ...]]:
    """The user's preprocessing, or what is assumed, and what to say about that."""
    if choice:
        return choice, ()
    if scales_itself:
        return "none", ("the model scales its own input: --preprocess none",)
    return "scale01", ("pixels scaled to 0..1 by assumption: --preprocess says otherwise",)
