"""Pictures and options for pictures that do not fit."""

import io
import json
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.conftest import SAMPLES

DIGITS = SAMPLES / "digits.onnx"
DIGIT = SAMPLES / "digit-3.png"
QUICK = ("-n", "50", "--no-progress")


@pytest.fixture
def explain(cli):
    def run(*args):
        return cli("image", DIGITS, *args, *QUICK)

    return run


@pytest.fixture
def refused(fails):
    """Explain a picture that must be refused; what stderr says."""

    def run(*args, code=4):
        return fails(code, "image", DIGITS, *args, *QUICK).stderr

    return run


def written(path, data):
    path.write_bytes(data)
    return path


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height):
    """A PNG that claims its size and holds next to nothing."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(min(width, 1000)))
    return (b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", body)
            + _chunk(b"IEND", b""))  # fmt: skip


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


# Files that are no pictures, or damaged ones


def test_missing_picture_is_named(refused, tmp_path):
    assert f"{tmp_path / 'none.png'}: no such file" in refused(tmp_path / "none.png")


def test_directory_is_no_picture(refused, tmp_path):
    assert f"{tmp_path} is a directory" in refused(tmp_path)


def test_empty_picture_is_called_empty(refused, tmp_path):
    assert "cat.png is empty" in refused(written(tmp_path / "cat.png", b""))


def test_empty_standard_input_is_called_empty(refused):
    assert "standard input is empty" in refused("-")


def test_text_file_is_no_picture(refused, tmp_path):
    stderr = refused(written(tmp_path / "cat.png", b"This is not a picture.\n"))
    assert "cat.png is not a picture" in stderr
    assert "PNG, JPEG" in stderr


def test_format_that_is_not_read_is_no_picture(refused, tmp_path):
    path = written(tmp_path / "cat.pdf", b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n%%EOF\n")
    assert "cat.pdf is not a picture" in refused(path)


def test_png_with_a_wrong_checksum_is_called_damaged(refused, tmp_path):
    data = bytearray(DIGIT.read_bytes())
    at = data.index(b"IDAT")
    data[at + 8] ^= 0xFF
    stderr = refused(written(tmp_path / "digit.png", bytes(data)))
    assert "digit.png is a damaged picture" in stderr


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_truncated_png_is_refused(refused, tmp_path, share):
    data = DIGIT.read_bytes()
    assert "digit.png is" in refused(
        written(tmp_path / "digit.png", data[: int(len(data) * share)])
    )


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_truncated_jpeg_is_called_damaged(refused, tmp_path, share):
    data = (SAMPLES / "chelsea.jpg").read_bytes()
    stderr = refused(written(tmp_path / "cat.jpg", data[: int(len(data) * share)]))
    assert "cat.jpg is a damaged picture" in stderr


def test_truncated_gif_is_refused(refused, tmp_path):
    buffer = io.BytesIO()
    Image.open(DIGIT).convert("P").save(buffer, "GIF")
    data = buffer.getvalue()
    assert "digit.gif is" in refused(written(tmp_path / "digit.gif", data[: len(data) // 2]))


def test_flipped_bits_in_a_picture_never_count_as_a_bug(cli, tmp_path):
    data, rng = DIGIT.read_bytes(), np.random.default_rng(0)
    unforeseen = []
    for _ in range(40):
        damaged = bytearray(data)
        at = int(rng.integers(len(data)))
        damaged[at] ^= 1 << int(rng.integers(8))
        path = written(tmp_path / "digit.png", bytes(damaged))
        result = cli("image", DIGITS, path, "-n", "10", "--segmentation", "grid")
        if result.code not in (0, 4):
            unforeseen.append((at, result.stderr))
    assert unforeseen == []


@pytest.mark.parametrize("size", [(10_000, 10_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_picture_of_hundreds_of_megapixels_is_refused_at_once(refused, tmp_path, size):
    path = written(tmp_path / "huge.png", png_header(*size))
    started = time.monotonic()
    stderr = refused(path)
    assert "huge.png has more than 89 million pixels" in stderr
    assert "scale it down" in stderr
    assert time.monotonic() - started < 5


def test_picture_of_one_pixel_is_explained_or_refused_in_a_sentence(explain, tmp_path):
    path = tmp_path / "dot.png"
    Image.new("RGB", (1, 1), "red").save(path)
    result = explain(path)
    assert result.code in (0, 4), result.stderr
    assert "1x1" in result.stderr or "dot.png" in result.stderr


@pytest.mark.parametrize("size", [(1, 400), (400, 1)])
def test_picture_of_one_line_is_explained_or_refused_in_a_sentence(explain, tmp_path, size):
    path = tmp_path / "line.png"
    Image.new("L", size, 200).save(path)
    result = explain(path, "--resize", "crop")
    assert result.code in (0, 4), result.stderr


def test_picture_of_one_colour_is_explained_on_a_grid(explain, tmp_path):
    path = tmp_path / "flat.png"
    Image.new("RGB", (28, 28), "grey").save(path)
    result = explain(path)
    assert result.code == 0, result.stderr
    assert "a grid was used" in result.stderr


def test_picture_of_floating_point_pixels_is_refused(refused, tmp_path):
    path = tmp_path / "depth.tiff"
    Image.fromarray(np.random.default_rng(0).random((28, 28)).astype(np.float32)).save(path)
    assert "depth.tiff holds floating-point pixels" in refused(path)


# Superpixels from a file


@pytest.fixture
def labels(tmp_path):
    """Write an array as a label map."""

    def write(array, name="labels.npy"):
        np.save(tmp_path / name, array, allow_pickle=array.dtype.hasobject)
        return tmp_path / name

    return write


def test_label_map_is_used(explain, labels):
    quarters = np.kron(np.arange(4).reshape(2, 2), np.ones((14, 14), dtype=int))
    result = explain(DIGIT, "--segmentation", labels(quarters), "--json")
    assert result.code == 0, result.stderr
    assert json.loads(result.stdout)["explanations"][0]["segmentation"]["count"] == 4


def test_missing_label_map_is_named(refused, tmp_path):
    path = tmp_path / "none.npy"
    assert f"{path}: no such file" in refused(DIGIT, "--segmentation", path)


def test_misspelt_algorithm_is_named(fails):
    result = fails(4, "image", DIGITS, DIGIT, *QUICK, "--segmentation", "slicc")
    assert "slicc" in result.stderr


def test_text_is_no_label_map(refused, tmp_path):
    path = written(tmp_path / "labels.txt", b"1 1 2 2\n1 1 2 2\n")
    assert "labels.txt is neither a .npy file nor a picture" in refused(
        DIGIT, "--segmentation", path
    )


def test_label_map_of_floats_is_refused(refused, labels):
    stderr = refused(DIGIT, "--segmentation", labels(np.random.default_rng(0).random((28, 28))))
    assert "labels.npy holds float64 of shape (28, 28)" in stderr


def test_label_map_of_three_dimensions_is_refused(refused, labels):
    stderr = refused(DIGIT, "--segmentation", labels(np.zeros((28, 28, 3), dtype=int)))
    assert "labels.npy holds int64 of shape (28, 28, 3)" in stderr


def test_label_map_of_objects_is_not_unpickled(refused, labels, tmp_path):
    import os

    class Shell:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'marker'}",)

    path = labels(np.array([[Shell(), 1]], dtype=object))
    assert "labels.npy" in refused(DIGIT, "--segmentation", path)
    assert not (tmp_path / "marker").exists()


def test_label_map_cut_in_half_is_called_damaged(refused, labels):
    path = labels(np.arange(28 * 28).reshape(28, 28))
    path.write_bytes(path.read_bytes()[:1000])
    assert "labels.npy is a damaged .npy file" in refused(DIGIT, "--segmentation", path)


@pytest.mark.parametrize("size", [4, 9, 30])
def test_label_map_cut_in_its_header_is_called_damaged(refused, labels, size):
    path = labels(np.arange(28 * 28).reshape(28, 28))
    path.write_bytes(path.read_bytes()[:size])
    assert "labels.npy" in refused(DIGIT, "--segmentation", path)


def test_empty_label_map_is_refused(refused, labels):
    path = labels(np.zeros((0, 0), dtype=int))
    assert "labels.npy" in refused(DIGIT, "--segmentation", path)


def test_label_map_that_claims_a_huge_array_is_refused(refused, tmp_path):
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000, 1000000000), }"
    header = header.ljust(117) + b"\n"
    path = written(tmp_path / "labels.npy", b"\x93NUMPY\x01\x00\x76\x00" + header)
    assert "labels.npy" in refused(DIGIT, "--segmentation", path)


def test_label_map_of_one_segment_is_refused(refused, labels):
    stderr = refused(DIGIT, "--segmentation", labels(np.zeros((28, 28), dtype=int)))
    assert "labels.npy" in stderr
    assert "one superpixel" in stderr


def test_huge_label_picture_is_refused(refused, tmp_path):
    path = written(tmp_path / "huge.png", png_header(20_000, 20_000))
    assert "huge.png" in refused(DIGIT, "--segmentation", path)


def test_number_of_segments_needs_an_algorithm_that_takes_one(refused):
    stderr = refused(DIGIT, "--segmentation", "quickshift", "--num-segments", "9", code=2)
    assert "--num-segments does not apply to quickshift" in stderr


# Options


@pytest.mark.parametrize("color", ["blackish", "300,0,0", "1,2", "#12345", "", "-1", "²"])
def test_senseless_hide_color_is_a_usage_fault(refused, color):
    stderr = refused(DIGIT, f"--hide-color={color}", code=2)
    assert f"--hide-color {color}".rstrip() in stderr
    assert "R,G,B" in stderr


@pytest.mark.parametrize("name", ["imagnet", "1,2,3", "127,0", "nosuchmodule:scale", "os:nothing",
                                  "os:sep"])  # fmt: skip
def test_unknown_preprocess_is_a_usage_fault(refused, name):
    assert f"--preprocess {name}" in refused(DIGIT, "--preprocess", name, code=2)


def test_preprocess_function_that_fails_is_a_prediction_fault(refused):
    stderr = refused(DIGIT, "--preprocess", "math:sqrt", "-q", code=5)
    assert "TypeError" in stderr


def test_preprocess_function_that_changes_the_shape_is_a_prediction_fault(refused):
    assert refused(DIGIT, "--preprocess", "numpy:ravel", "-q", code=5)


@pytest.mark.parametrize("option", [("--resize", "zoom"), ("--image-size", "0"),
                                    ("--image-size", "32"), ("--num-segments", "1")])  # fmt: skip
def test_senseless_picture_option_is_a_usage_fault(refused, option):
    assert option[0] in refused(DIGIT, *option, code=2)


def test_unknown_class_is_a_usage_fault(refused):
    stderr = refused(DIGIT, "-l", "cat", "-q", code=2)
    assert "--label cat" in stderr
    assert "there are: 0, 1, 2" in stderr


# Several pictures


def test_two_pictures_of_one_stem_cannot_share_a_file(refused, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder / "digit.png", DIGIT.read_bytes())
    out = tmp_path / "{stem}.json"
    stderr = refused(tmp_path / "a/digit.png", tmp_path / "b/digit.png", "-o", out, "-q", code=2)
    assert str(tmp_path / "digit.json") in stderr
    assert entries(tmp_path) == ["a", "b"]


def test_several_pictures_in_one_png_ask_for_the_stem(refused, tmp_path):
    out = tmp_path / "out.png"
    stderr = refused(DIGIT, SAMPLES / "digit-5.png", "-o", out, "-q", code=2)
    assert "{stem}" in stderr
    assert entries(tmp_path) == []


def test_corrupt_picture_does_not_keep_the_others_from_being_explained(explain, tmp_path):
    bad = written(tmp_path / "bad.png", DIGIT.read_bytes()[:60])
    result = explain(DIGIT, bad, SAMPLES / "digit-5.png", "--json")
    assert result.code == 4
    assert f"{bad} is" in result.stderr
    found = json.loads(result.stdout)["explanations"]
    assert [item["status"] for item in found] == ["ok", "skipped", "ok"]
    assert found[1]["id"] == "bad"
    assert str(bad) in found[1]["reason"]


def test_corrupt_picture_gets_no_file_of_its_own(explain, tmp_path):
    bad = written(tmp_path / "bad.png", DIGIT.read_bytes()[:60])
    (tmp_path / "out").mkdir()
    result = explain(bad, DIGIT, "-o", tmp_path / "out" / "{stem}.png")
    assert result.code == 4
    assert entries(tmp_path / "out") == ["digit-3.png"]
    assert Image.open(tmp_path / "out" / "digit-3.png").format == "PNG"


def test_only_corrupt_pictures_name_the_first(refused, tmp_path):
    bad = written(tmp_path / "bad.png", DIGIT.read_bytes()[:60])
    worse = written(tmp_path / "worse.png", b"not a picture at all")
    stderr = refused(bad, worse, "-o", tmp_path / "{stem}.json")
    assert f"{bad} is" in stderr
    assert entries(tmp_path) == ["bad.png", "worse.png"]
