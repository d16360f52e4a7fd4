"""Cuts a picture into superpixels, numbered 0..n-1 whatever the algorithm numbers them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from limecli.errors import InputError, UsageError
from limecli.types import Instance, LimeSettings, Segmentation, Value

if TYPE_CHECKING:
    from limecli.types import ByteArray, IntArray

ALGORITHMS = ("auto", "quickshift", "slic", "felzenszwalb", "grid")
_COUNTED = {"slic": 50, "grid": 49}  # the algorithms that take a number of segments, and which
_FEW = 4  # below this many superpixels an answer explains nothing
# Pixels from which quickshift takes seconds, and finds more superpixels (200 at 512 x 512) than a
# thousand samples can tell apart.
_LARGE = 320 * 320


def superpixels(instance: Instance, settings: LimeSettings) -> Segmentation:
    """The user's superpixels, or those that the settings ask for; the same picture is cut once."""
    if instance.segments is not None:
        return relabelled(instance.segments, str(settings.segmentation), {})
    image = instance.payload
    return _kept(
        image.tobytes(), image.shape, settings.segmentation or "auto", settings.num_segments
    )


def segmentation_notes(found: Segmentation, settings: LimeSettings) -> tuple[str, ...]:
    """What to say of the superpixels that "auto" chose."""
    if settings.segmentation == "auto" and found.algorithm == "grid":
        return ("there is next to nothing to separate here: a grid was used",)
    return ()


@lru_cache(maxsize=8)
def _kept(
    pixels: bytes, shape: tuple[int, ...], algorithm: str, num_segments: int | None
) -> Segmentation:
    import numpy as np

    return segment(np.frombuffer(pixels, np.uint8).reshape(shape), algorithm, num_segments)


def segment(image: ByteArray, algorithm: str, num_segments: int | None = None) -> Segmentation:
    """Segment `uint8[h, w, 3]`. quickshift takes lime's parameters; "auto" is quickshift, slic for
    large pictures, or a grid where they find next to nothing to separate (small or flat pictures).

    Costs half a second for quickshift at 224 x 224, a tenth of it for slic. Raises UsageError for a
    number of segments that the algorithm does not take.
    """
    if num_segments is not None and algorithm not in _COUNTED:
        raise UsageError(
            f"--num-segments does not apply to {algorithm}", "use --segmentation slic or grid"
        )
    if algorithm == "auto":
        large = image.shape[0] * image.shape[1] > _LARGE
        try:
            found = segment(image, "slic" if large else "quickshift")
        except InputError:
            return segment(image, "grid")
        return found if found.count >= _FEW else segment(image, "grid")
    n = num_segments or _COUNTED.get(algorithm, 0)
    parameters: dict[str, Value]
    labels: Any
    if algorithm == "quickshift":
        from skimage.segmentation import quickshift

        parameters = {"kernel_size": 4, "max_dist": 200, "ratio": 0.2}
        labels = quickshift(image, **parameters)  # type: ignore[no-untyped-call]
    elif algorithm == "slic":
        from skimage.segmentation import slic

        parameters = {"n_segments": n, "compactness": 10.0}
        labels = slic(image, **parameters)
    elif algorithm == "felzenszwalb":
        from skimage.segmentation import felzenszwalb

        # The usual values were chosen on pictures of some 400 pixels; smaller ones get less.
        min_size = max(4, image.shape[0] * image.shape[1] // 400)
        parameters = {"scale": 100.0, "sigma": 0.5, "min_size": min_size}
        labels = felzenszwalb(image, **parameters)
    else:
        parameters = {"num_segments": n}
        labels = _grid(image.shape[0], image.shape[1], n)
    return relabelled(labels, algorithm, parameters)


def relabelled(labels: Any, algorithm: str, parameters: dict[str, Value]) -> Segmentation:
    """Number segments 0..n-1: lime takes that for granted and leaves the last one out otherwise.

    Raises InputError when there is only one segment.
    """
    import numpy as np

    ids, dense = np.unique(labels, return_inverse=True)
    count = len(ids)
    if count < 2:
        raise InputError(
            f"{algorithm} finds one superpixel in the whole picture: there is nothing to compare",
            "--segmentation grid cuts any picture into squares",
        )
    shaped: IntArray = dense.reshape(np.shape(labels)).astype(np.int64)
    return Segmentation(shaped, count, algorithm, parameters)


def _grid(height: int, width: int, n: int) -> Any:
    """About n squares: rows and columns in the picture's proportion."""
    import numpy as np

    rows = min(height, max(1, round((n * height / width) ** 0.5)))
    columns = min(width, max(1, round(n / rows)))
    row = np.arange(height) * rows // height
    column = np.arange(width) * columns // width
    return row[:, None] * columns + column[None, :]
