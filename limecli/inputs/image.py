"""A picture file -> uint8 RGB of the model's size."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from limecli.errors import InputError, UsageError
from limecli.inputs.files import read_input
from limecli.types import Instance

if TYPE_CHECKING:
    from PIL import Image

    from limecli.types import ByteArray, IntArray

Resize = Literal["crop", "stretch", "pad"]
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
DEFAULT_SIZE = 224
_DEEP = {"I;16", "I;16B", "I;16L", "I;16N"}


@dataclass(frozen=True)
class Frame:
    """How pictures are brought to the model's size: shared by a picture and its segment file."""

    height: int
    width: int
    channels: int
    resize: Resize = "stretch"

    def fit(self, image: Image.Image, smooth: bool = True) -> Image.Image:
        """Cut, squeeze or pad to the frame; `smooth=False` keeps values as they are."""
        from PIL import Image, ImageOps

        method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
        size = (self.width, self.height)
        if image.size == size:
            return image
        if self.resize == "stretch":
            return image.resize(size, method)
        if self.resize == "pad":
            return ImageOps.pad(image, size, method)
        return ImageOps.fit(image, size, method)


def read_image(path: str, index: int, frame: Frame) -> tuple[Instance, list[str]]:
    """Read one picture and say what had to be done to it.

    EXIF-turned; grey, palette, CMYK and 16-bit pictures are converted to RGB, transparency goes on
    white; a model with one channel gets grey. Raises InputError for what is no picture, is cut
    short, or has more than 89 million pixels.
    """
    file = read_input(path)
    image, notes = _decode(file.data, file.name)
    original = image.size
    if frame.channels == 1:
        image = image.convert("L")
    fitted = frame.fit(image.convert("RGB"))
    if original != fitted.size:
        notes.append(_size_note(original, fitted.size, frame.resize))
    digest = hashlib.sha256(file.data).hexdigest()
    name = "stdin" if path == "-" else Path(path).stem
    import numpy as np

    pixels: ByteArray = np.asarray(fitted, dtype=np.uint8)
    return Instance(name, index, "image", pixels, digest, None if path == "-" else path), notes


def _size_note(before: tuple[int, int], after: tuple[int, int], resize: Resize) -> str:
    size = f"{before[0]}x{before[1]} brought to {after[0]}x{after[1]}"
    if before[0] * after[1] == before[1] * after[0]:
        return size
    how = {"crop": "cut to its centre", "stretch": "stretched (--resize crop keeps proportions)",
           "pad": "padded with black"}  # fmt: skip
    return f"{size}, {how[resize]}"


def _decode(data: bytes, name: str) -> tuple[Image.Image, list[str]]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    notes: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Pillow only warns up to twice its limit; a picture that large is refused here as well.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
            if getattr(image, "n_frames", 1) > 1:
                notes.append("the first of several frames")
            image.load()
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise InputError(
                f"{name} has more than {(Image.MAX_IMAGE_PIXELS or 0) // 10**6} million pixels",
                "scale it down first: the model sees far fewer",
            ) from None
        except UnidentifiedImageError:
            raise InputError(
                f"{name} is not a picture that limecli reads", f"formats: {', '.join(FORMATS)}"
            ) from None
        except Exception as error:  # a damaged file makes Pillow raise nearly anything
            raise InputError(f"{name} is a damaged picture: {error}") from None
        try:
            image = ImageOps.exif_transpose(image)
        except Exception:
            notes.append("its EXIF data are damaged: not turned")
        return _to_rgb(image, name, notes), notes


def _to_rgb(image: Image.Image, name: str, notes: list[str]) -> Image.Image:
    from PIL import Image

    if image.mode in _DEEP or image.mode == "I":
        return _sixteen_bit(image, name)
    if image.mode == "F":
        raise InputError(
            f"{name} holds floating-point pixels, whose scale is unknown",
            "save it with 8 or 16 bits a channel",
        )
    has_alpha = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    if has_alpha:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema()[0] < 255:  # type: ignore[operator]
            notes.append("transparent parts put on white")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _sixteen_bit(image: Image.Image, name: str) -> Image.Image:
    import numpy as np
    from PIL import Image

    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise InputError(f"{name} holds pixels outside 16 bits ({pixels.min()} to {pixels.max()})")
    depth = 8 if pixels.max() > 255 or image.mode != "I" else 0  # mode I may hold 8 bits
    return Image.fromarray((pixels >> depth).astype(np.uint8)).convert("RGB")


def parse_color(text: str, channels: int) -> str:
    """A colour name, #rrggbb, "R,G,B" or one grey level -> "#rrggbb"; "mean" stays what it is.

    Raises UsageError for anything else. A model with one channel gets the colour's grey.
    """
    from PIL import Image, ImageColor

    if text == "mean":
        return text
    numbers = text.split(",")
    try:
        if all(part.strip().isdigit() for part in numbers) and len(numbers) in (1, 3):
            levels = [int(part) for part in numbers] * (3 // len(numbers))
            if max(levels) > 255:
                raise ValueError(text)
            rgb = (levels[0], levels[1], levels[2])
        else:
            rgb = ImageColor.getrgb(text)[:3]
    except ValueError:
        raise UsageError(
            f"--hide-color {text} is no colour",
            "use mean, a name such as black, #rrggbb, R,G,B or one grey level from 0 to 255",
        ) from None
    if channels == 1:
        rgb = Image.new("RGB", (1, 1), rgb).convert("L").convert("RGB").getpixel((0, 0))  # type: ignore[assignment]
    return "#" + "".join(f"{level:02x}" for level in rgb)


def read_segments(path: str, frame: Frame) -> IntArray:
    """A label map, `.npy` or picture (one value a segment), brought to the frame like a picture.

    Raises InputError when it is neither, or not two-dimensional.
    """
    import numpy as np

    file = read_input(path)
    labels: Any
    if file.data.startswith(b"\x93NUMPY"):
        try:
            labels = np.load(io.BytesIO(file.data), allow_pickle=False)
        except (ValueError, EOFError, OSError, MemoryError) as error:
            raise InputError(f"{path} is a damaged .npy file: {error}") from None
        if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
            raise InputError(
                f"{path} holds {labels.dtype} of shape {labels.shape}; int[h, w] is needed"
            )
    else:
        labels = _label_picture(file.data, path)
    _, ids = np.unique(labels, return_inverse=True)
    return _fit_labels(ids.reshape(labels.shape), frame)


def _label_picture(data: bytes, name: str) -> Any:
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        pixels = np.asarray(Image.open(io.BytesIO(data), formats=FORMATS)).astype(np.int64)
    except UnidentifiedImageError:  # its words name no file
        raise InputError(
            f"{name} is neither a .npy file nor a picture that limecli reads",
            f"save int[h, w] with numpy, or a picture: {', '.join(FORMATS)}",
        ) from None
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise InputError(f"{name} is a damaged picture: {error}") from None
    if pixels.ndim == 3:  # one colour a segment
        pixels = (pixels * (256 ** np.arange(pixels.shape[2]))).sum(axis=2)
    return pixels


def _fit_labels(ids: Any, frame: Frame) -> IntArray:
    import numpy as np
    from PIL import Image

    image = Image.fromarray(ids.astype(np.int32))
    fitted: IntArray = np.asarray(frame.fit(image, smooth=False)).astype(np.int64)
    return fitted
