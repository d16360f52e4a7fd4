"""The superpixels of a JSON report, read back from their picture."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limecli.types import IntArray


def decoded(text: str, shape: tuple[int, ...] | None = None) -> IntArray | None:
    """`int[h, w]` out of a PNG in base64; None when it is damaged or not of the `shape` given."""
    import numpy as np
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(base64.b64decode(text)), formats=("PNG",))
        # Checked before a pixel is unpacked: a few bytes can hold a picture of gigabytes.
        if shape is not None and image.size != (shape[1], shape[0]):
            return None
        labels = np.asarray(image).astype(np.int64)
    except Exception:  # Pillow's many ways to say that it is no picture
        return None
    return labels if labels.ndim == 2 else None
