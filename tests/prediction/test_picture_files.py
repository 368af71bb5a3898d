"""Every picture below a folder is answered for: by any suffix that Pillow here opens, and behind links to folders."""

import os

import pytest
from PIL import Image

from drnn.data.decoding import UnreadableImage
from drnn.prediction.images import find_images, read_image

SUFFIXES = ("jfif", "jpe", "tga", "jp2", "avif", "pbm", "PNG", "webp", "tiff")


def found(*folders):
    return [str(path) for path in find_images([str(folder) for folder in folders])]


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), 90).save(path)
    return str(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_picture_is_found_by_any_suffix_that_pillow_opens(suffix, tmp_path):
    if f".{suffix.lower()}" not in Image.registered_extensions():
        pytest.skip(f"Pillow here does not open .{suffix}")
    if suffix == "pbm":
        Image.new("1", (8, 8), 1).save(tmp_path / "a.pbm")
    else:
        Image.new("L", (8, 8), 90).convert("RGB").save(tmp_path / f"a.{suffix}")
    assert found(tmp_path) == [str(tmp_path / f"a.{suffix}")]
    assert read_image(tmp_path / f"a.{suffix}", (3, 8, 8)).shape == (3, 8, 8)


def test_stereo_pictures_of_cameras_are_found(tmp_path):
    first = Image.new("RGB", (8, 8), "red")
    first.save(tmp_path / "a.mpo", save_all=True, append_images=[first])
    assert found(tmp_path) == [str(tmp_path / "a.mpo")]
    assert read_image(tmp_path / "a.mpo", (3, 8, 8)).shape == (3, 8, 8)


@pytest.mark.parametrize("suffix", ["pdf", "ps", "eps", "h5", "hdf", "grib", "bufr", "mpg", "wmf", "txt", "cls"])
def test_what_is_no_picture_is_left_out(suffix, tmp_path):
    (tmp_path / f"a.{suffix}").write_bytes(b"x")
    kept = picture(tmp_path / "b.png")
    assert found(tmp_path) == [kept]


def test_a_folder_without_pictures_says_which_are_known(tmp_path):
    assert found(tmp_path) == [str(tmp_path)]
    with pytest.raises(UnreadableImage, match=r"holds no images; known are \.png, .* others that Pillow here opens"):
        read_image(tmp_path, (3, 8, 8))


def test_links_to_folders_are_followed(tmp_path):
    picture(tmp_path / "elsewhere" / "deep" / "b.png")
    inside = picture(tmp_path / "images" / "c.png")
    (tmp_path / "images" / "a_link").symlink_to(tmp_path / "elsewhere")
    behind = str(tmp_path / "images" / "a_link" / "deep" / "b.png")
    assert found(tmp_path / "images") == [behind, inside]


def test_no_folder_is_read_twice_and_its_own_name_is_taken(tmp_path):
    one, two = picture(tmp_path / "b" / "one.png"), picture(tmp_path / "c" / "two.png")
    for link, to in (("a", "b"), ("b/up", ".."), ("b/to_c", "../c"), ("c/to_b", "../b"), ("c/itself", ".")):
        (tmp_path / link).symlink_to(to)
    assert found(tmp_path) == [one, two]
    from_b = [one, str(tmp_path / "b" / "to_c" / "two.png")]
    assert found(tmp_path / "b") == from_b
    assert found(tmp_path / "b", tmp_path / "b") == from_b * 2
    assert found(tmp_path / "a") == [str(tmp_path / "a" / "one.png"), str(tmp_path / "a" / "to_c" / "two.png")]


def test_a_link_to_nowhere_that_might_be_a_picture_is_named(tmp_path):
    for name in ("folder", "picture.jfif"):
        (tmp_path / name).symlink_to(tmp_path / "nowhere")
    kept = picture(tmp_path / "a.png")
    assert found(tmp_path) == [kept, str(tmp_path / "picture.jfif")]
    os.mkfifo(tmp_path / "pipe.tga")  # opened, it would wait for ever
    assert found(tmp_path) == [kept, str(tmp_path / "picture.jfif")]
