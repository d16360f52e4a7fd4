"""Any picture comes out as uint8 RGB of the model's size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from limecli.errors import InputError, UsageError
from limecli.inputs.image import Frame, parse_color, read_image, read_segments

FRAME = Frame(32, 32, 3)


@pytest.fixture
def scene():
    """Red left half, blue right half, a green corner at the top left."""
    pixels = np.zeros((32, 32, 3), dtype=np.uint8)
    pixels[:, :16, 0] = 255
    pixels[:, 16:, 2] = 255
    pixels[:8, :8] = (0, 255, 0)
    return Image.fromarray(pixels)


def pixels_of(path, frame=FRAME):
    instance, notes = read_image(str(path), 0, frame)
    assert instance.payload.dtype == np.uint8
    assert instance.payload.shape == (frame.height, frame.width, 3)
    return instance.payload.astype(int), notes


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "jpg", "gif"])
def test_every_format(scene, tmp_path, suffix):
    path = tmp_path / f"scene.{suffix}"
    scene.save(path, **({"lossless": True} if suffix == "webp" else {}))
    pixels, _ = pixels_of(path)
    tolerance = 40 if suffix == "jpg" else 3
    assert np.abs(pixels[28, 4] - (255, 0, 0)).max() < tolerance
    assert np.abs(pixels[28, 28] - (0, 0, 255)).max() < tolerance
    assert np.abs(pixels[2, 2] - (0, 255, 0)).max() < tolerance


def test_the_suffix_does_not_matter(scene, tmp_path):
    scene.save(tmp_path / "scene.dat", "PNG")
    assert pixels_of(tmp_path / "scene.dat")[0][28, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA", "I;16"])
def test_every_mode(scene, tmp_path, mode):
    path = tmp_path / ("scene.tiff" if mode == "CMYK" else "scene.png")
    if mode == "I;16":
        grey = np.asarray(scene.convert("L")).astype(np.uint16) * 257
        Image.fromarray(grey).save(path)
    elif mode == "LA":
        scene.convert("L").convert("LA").save(path)
    else:
        scene.convert(mode).save(path)
    pixels, _ = pixels_of(path)
    if mode in ("P", "CMYK", "RGBA"):
        assert pixels[28, 4, 0] > 200 > 60 > pixels[28, 4, 2]
    else:  # grey: equal channels, red lighter than blue
        assert len(set(pixels[28, 4])) == 1
        assert pixels[20:, :16].mean() >= pixels[20:, 16:].mean()


def test_transparency_goes_on_white(scene, tmp_path):
    rgba = scene.convert("RGBA")
    rgba.putalpha(0)
    rgba.save(tmp_path / "scene.png")
    pixels, notes = pixels_of(tmp_path / "scene.png")
    assert (pixels == 255).all()
    assert notes == ["transparent parts put on white"]


def test_a_transparent_palette_colour_goes_on_white(scene, tmp_path):
    palette = scene.convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    palette.save(tmp_path / "scene.png", transparency=palette.getpixel((28, 28)))
    pixels, _ = pixels_of(tmp_path / "scene.png")
    assert pixels[28, 28].tolist() == [255, 255, 255]


def test_exif_turns_the_picture(scene, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn clockwise to look at it
    scene.save(tmp_path / "scene.png", exif=exif)
    pixels, _ = pixels_of(tmp_path / "scene.png")
    assert pixels[2, 28].tolist() == [0, 255, 0]


@pytest.mark.parametrize(
    ("resize", "left", "words"),
    [("stretch", 255, "stretched"), ("crop", 0, "centre"), ("pad", 0, "padded")],
)
def test_resizing(tmp_path, resize, left, words):
    wide = np.zeros((32, 96, 3), dtype=np.uint8)
    wide[:, :24] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    pixels, notes = pixels_of(tmp_path / "wide.png", Frame(32, 32, 3, resize))
    row = 1 if resize == "pad" else 16
    assert abs(int(pixels[row, 1, 0]) - left) < 10
    assert words in notes[0]
    assert "96x32 brought to 32x32" in notes[0]


def test_a_model_with_one_channel_gets_grey(scene, tmp_path):
    scene.save(tmp_path / "scene.png")
    pixels, _ = pixels_of(tmp_path / "scene.png", Frame(32, 32, 1))
    assert (pixels[..., 0] == pixels[..., 1]).all()
    assert pixels[28, 4, 0] == 76  # red's share of luminance


def test_only_the_first_frame_counts(scene, tmp_path):
    scene.save(tmp_path / "scene.gif", save_all=True, append_images=[Image.new("RGB", (32, 32))])
    pixels, notes = pixels_of(tmp_path / "scene.gif")
    assert "the first of several frames" in notes
    assert pixels[28, 4, 0] > 200


def test_a_colour_profile_does_not_stop_anything(scene, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    scene.save(tmp_path / "scene.png", icc_profile=profile)
    assert pixels_of(tmp_path / "scene.png")[0][28, 4].tolist() == [255, 0, 0]


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(np.random.default_rng(0).random((8, 8)).astype(np.float32)).save(
        tmp_path / "scene.tiff"
    )
    with pytest.raises(InputError, match="floating-point"):
        read_image(str(tmp_path / "scene.tiff"), 0, FRAME)


@pytest.mark.parametrize(
    ("text", "color"),
    [("mean", "mean"), ("black", "#000000"), ("#ff8000", "#ff8000"), ("1,2,3", "#010203"),
     ("128", "#808080"), ("rgb(0,10,255)", "#000aff")],
)  # fmt: skip
def test_colours(text, color):
    assert parse_color(text, 3) == color


def test_a_colour_becomes_grey_for_one_channel():
    assert parse_color("red", 1) == "#4c4c4c"


@pytest.mark.parametrize("text", ["", "nocolor", "256", "1,2", "#12", "1,2,999"])
def test_no_colour(text):
    with pytest.raises(UsageError, match="--hide-color"):
        parse_color(text, 3)


def test_segments_from_an_array_file(tmp_path):
    labels = np.repeat(np.array([[7, 7, 300, 300]]), 4, axis=0)
    np.save(tmp_path / "segments.npy", labels)
    found = read_segments(str(tmp_path / "segments.npy"), Frame(8, 8, 3))
    assert found.shape == (8, 8)
    assert found[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_segments_from_a_coloured_picture(scene, tmp_path):
    scene.save(tmp_path / "segments.png")
    found = read_segments(str(tmp_path / "segments.png"), FRAME)
    assert len(np.unique(found)) == 3


def test_segments_from_no_picture_name_the_file(tmp_path, scene):
    (tmp_path / "segments.csv").write_text("0,1\n1,1\n")
    with pytest.raises(InputError) as error:
        read_segments(str(tmp_path / "segments.csv"), FRAME)
    wanted = f"{tmp_path}/segments.csv is neither a .npy file nor a picture that limecli reads"
    assert error.value.message == wanted
    assert "PNG" in error.value.hint
    scene.save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:80])
    with pytest.raises(InputError, match=r"cut\.png is a damaged picture"):
        read_segments(str(tmp_path / "cut.png"), FRAME)


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "segments.npy").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="damaged"):
        read_segments(str(tmp_path / "segments.npy"), FRAME)
