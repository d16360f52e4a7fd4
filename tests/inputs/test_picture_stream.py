"""Files, folders and lists give the paths of pictures, always in the same order."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from limecli.errors import InputError
from limecli.inputs.picture_stream import PictureFile, open_pictures

NAMES = ["a.png", "a/b.JPG", "a/c/d.webp", "a-b.tif", "a.jpg", "b.bmp", "ä.gif", "z.tiff", "B.jpeg"]
LEFT_OUT = [".hidden.png", ".git/x.png", "notes.txt", "png", "a/.DS_Store", "c.png.bak"]


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "pictures"
    for name in NAMES + LEFT_OUT:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return place


def ids(*paths):
    return [picture.id for picture in open_pictures(list(map(str, paths))).pictures()]


def test_a_folder_gives_its_pictures_sorted_by_the_bytes_of_their_paths(folder):
    found = list(open_pictures([str(folder)]).pictures())
    assert [picture.id for picture in found] == sorted(NAMES, key=str.encode)
    assert [picture.index for picture in found] == list(range(len(NAMES)))
    assert [picture.path for picture in found] == [f"{folder}/{picture.id}" for picture in found]


def test_files_are_taken_as_given_whatever_they_are_called(folder):
    paths = [str(folder / name) for name in ("z.tiff", "png", ".hidden.png", "z.tiff")]
    found = list(open_pictures(paths).pictures())
    assert found == [PictureFile(i, path, path) for i, path in enumerate(paths)]


def test_pictures_of_several_folders_have_ids_of_their_own(folder):
    found = ids(folder / "a", folder / "a/c", folder / "b.bmp")
    assert found == [
        f"{folder}/{name}" for name in ("a/b.JPG", "a/c/d.webp", "a/c/d.webp", "b.bmp")
    ]


def test_a_list_has_one_path_a_line(folder, tmp_path, monkeypatch):
    lines = f"{folder}/b.bmp\r\n\nno such.png\n{folder}/a.png"
    (tmp_path / "list.txt").write_text(lines)
    wanted = [f"{folder}/b.bmp", "no such.png", f"{folder}/a.png"]
    assert ids(f"@{tmp_path}/list.txt") == wanted
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(lines.encode())))
    stream = open_pictures(["-"])
    assert stream.name == "standard input"
    assert stream.sha256 is None
    assert [picture.path for picture in stream.pictures()] == wanted


def test_a_list_with_nul_bytes_is_no_list(folder, tmp_path):
    (tmp_path / "list.txt").write_bytes(b"a.png\nb.png\0c.png\n")
    with pytest.raises(InputError, match="line 2 is no path"):
        ids(f"@{tmp_path}/list.txt")


def test_links_are_followed_but_not_in_circles(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.png").write_bytes(b"")
    (other / "back").symlink_to(folder)
    (folder / "linked").symlink_to(other)
    (folder / "self").symlink_to(folder)
    (folder / "a/up").symlink_to("..")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "gone.png").symlink_to("nowhere")
    found = ids(folder)
    assert found == sorted([*NAMES, "linked/x.png", "gone.png", "loop.png"], key=str.encode)


def test_a_name_that_is_no_utf8_has_an_id_that_is(folder):
    name = os.fsdecode(b"\xe9.png")
    try:
        (folder / "a/c" / name).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    picture = list(open_pictures([str(folder / "a/c")]).pictures())[1]
    assert picture.id == "\\xe9.png"
    assert Path(picture.path).exists()


def test_the_hash_is_of_names_not_of_contents(folder):
    before = open_pictures([str(folder)]).sha256
    (folder / "a.png").write_bytes(b"other")
    assert open_pictures([str(folder)]).sha256 == before
    (folder / "c.png").write_bytes(b"")
    assert open_pictures([str(folder)]).sha256 != before
    assert open_pictures([str(folder / "a"), str(folder / "b.bmp")]).sha256 != before


def test_a_folder_without_pictures_and_a_missing_path_are_told(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no pictures"):
        open_pictures([str(folder), str(tmp_path / "empty")])
    with pytest.raises(InputError, match=r"none\.png: no such file"):
        open_pictures([str(folder), str(tmp_path / "none.png")])
    with pytest.raises(InputError, match=r"none\.txt: no such file"):
        ids(f"@{tmp_path}/none.txt")
