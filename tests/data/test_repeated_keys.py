"""Tars in which two images, or two labels, have one key are named, as one of the two would be lost."""

import io
import tarfile

import pytest

from drnn.data import load_streamed


def write_shard(path, *names):
    """A tar of these entries; images are bytes that nobody decodes, every label is 0."""
    with tarfile.open(path, "w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"0"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.png", "a.cls", "b.png", "b.cls", "a.png", "a.cls"], r"1 keys occur twice, first \['a'\]; rename"),
        (["a.png", "a.jpg", "a.cls"], r"1 keys occur twice, first \['a'\]"),
        (["a.png", "a.cls", "a.cls"], r"1 keys occur twice, first \['a'\]"),
        (
            [f"{key}.{ending}" for key in "dcbadcba" for ending in ("png", "cls")],
            r"4 keys occur twice, first \['a', 'b', 'c'\]",
        ),
    ],
    ids=["both", "image", "label", "several"],
)
def test_a_key_that_occurs_twice_in_a_shard_is_named(names, message, tmp_path):
    write_shard(tmp_path / "train-0.tar", "a.png", "a.cls")
    write_shard(tmp_path / "train-1.tar", *names)
    write_shard(tmp_path / "val-0.tar", "a.png", "a.cls")
    with pytest.raises(ValueError, match=rf"train-1\.tar: {message}"):
        load_streamed("webdataset", tmp_path, 8)


def test_shards_may_use_the_same_keys(tmp_path):
    for name in ("train-0.tar", "train-1.tar", "val-0.tar"):
        write_shard(tmp_path / name, "a.png", "a.cls")
    assert load_streamed("webdataset", tmp_path, 8).num_train == 2
