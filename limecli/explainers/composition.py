"""Pictures with some of their superpixels hidden, a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from limecli.types import Segmentation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import ByteArray


def fill_color(color: str | None) -> tuple[int, ...] | None:
    """Red, green and blue of "#rrggbb"; None for the mean of each superpixel."""
    if color is None or color == "mean":
        return None
    return tuple(bytes.fromhex(color.removeprefix("#")))


def hidden_picture(image: ByteArray, found: Segmentation, color: str | None) -> ByteArray:
    """`uint8[h, w, 3]` with every superpixel hidden: filled with a color, or with its own mean."""
    filled = fill_color(color)
    if filled is not None:
        return np.asarray(np.broadcast_to(np.array(filled, np.uint8), image.shape))
    flat = found.labels.ravel()
    counts = np.bincount(flat, minlength=found.count)
    means = [
        np.bincount(flat, weights=image[..., channel].ravel(), minlength=found.count) / counts
        for channel in range(image.shape[2])
    ]
    return np.stack(means, axis=1).astype(image.dtype)[found.labels]  # cut off, as lime does


class Composer:
    """Shows some superpixels of a picture `uint8[h, w, c]` and hides the others.

    With x the picture, h the hidden one and m a byte mask of 0 or 255, (m & (x ^ h)) ^ h is x where
    m is 255 and h elsewhere: one look-up and two passes over the bytes, in place.
    """

    def __init__(self, image: ByteArray, hidden: ByteArray, found: Segmentation) -> None:
        self._shape = image.shape
        self._hidden = np.ascontiguousarray(hidden).ravel()
        self._difference = image.ravel() ^ self._hidden
        # The type that `take` would otherwise convert to at every call.
        self._superpixel = np.repeat(found.labels.ravel(), image.shape[2]).astype(
            np.intp, copy=False
        )

    def __call__(self, shown: NDArray[np.bool_]) -> ByteArray:
        """`uint8[n, h, w, c]` for each row of `bool[n, n_superpixels]`."""
        masks = np.where(shown, np.uint8(255), np.uint8(0))
        pictures = np.empty((len(shown), self._hidden.size), np.uint8)
        for out, mask in zip(pictures, masks, strict=True):
            mask.take(self._superpixel, out=out, mode="wrap")  # "raise" would buffer
            np.bitwise_and(out, self._difference, out=out)
            np.bitwise_xor(out, self._hidden, out=out)
        return pictures.reshape(len(shown), *self._shape)
