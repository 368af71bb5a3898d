"""Images read from files: the same whatever the number of readers or processes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from drnn.data import ALONE, Augmentation, EpochPlan, Share, hold_out, limit, load_streamed

VARIED = Augmentation(flip=True, distortion=True)
CLASSES = ("one", "seven", "three")
PLAN = EpochPlan(3, 1, 12)


def epoch(source, plan=PLAN, share=ALONE):
    return list(source.train_batches(plan, VARIED, share))


def test_an_image_folder_gives_batches(folder):
    source = load_streamed("imagefolder", folder, 32, workers=0)
    assert source.classes == CLASSES
    assert (source.num_train, source.num_test, source.image_size) == (60, 21, (3, 32, 32))
    batches = epoch(source)
    assert [images.shape for images, _ in batches] == [(12, 3, 32, 32)] * 5
    assert batches[0][0].dtype == torch.uint8
    assert sorted(torch.cat([labels for _, labels in batches]).tolist()) == [0] * 20 + [1] * 20 + [2] * 20
    assert torch.cat([labels for _, labels in source.test_batches(8)]).tolist() == [0] * 7 + [1] * 7 + [2] * 7


def test_batches_do_not_depend_on_readers_processes_or_what_was_drawn(folder):
    alone = load_streamed("imagefolder", folder, 32, workers=0)
    before, whole = torch.random.get_rng_state(), epoch(alone)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(5)
    read = epoch(load_streamed("imagefolder", folder, 32, workers=2))
    parts = [epoch(alone, share=Share(rank, 2)) for rank in range(2)]
    rest = epoch(alone, EpochPlan(3, 1, 12, first=2))
    for number, (images, _) in enumerate(whole):
        assert torch.equal(read[number][0], images)
        assert torch.equal(torch.cat([part[number][0] for part in parts]), images)
        if number >= 2:
            assert torch.equal(rest[number - 2][0], images)
    assert not torch.equal(epoch(alone, EpochPlan(3, 2, 12))[0][0], whole[0][0])
    for rank in range(2):
        shared = torch.cat([images for images, _ in alone.test_batches(4, Share(rank, 2))])
        assert torch.equal(shared, alone.test_images[rank::2])


@pytest.mark.parametrize("made", ["training_transform(8, Augmentation())", "evaluation_transform(8)"])
def test_a_transform_is_imported_where_it_is_made_and_not_in_each_of_a_loaders_processes(made):
    code = f"from drnn.data.streamed import *; {made}; import sys; print('torchvision.transforms.v2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"


def test_parts_of_a_streamed_set(folder):
    source = load_streamed("imagefolder", folder, 32, workers=0)
    held = limit(hold_out(source, 12), 24)
    assert (held.num_train, held.num_test) == (24, 12)
    names = [record.name for part in (held.train, held.test) for record in part]
    assert len(set(names)) == 36
    assert held.test_images.shape == (12, 3, 32, 32)
    assert len(held.test_labels) == 12
    with pytest.raises(ValueError, match="61 images to train on received"):
        limit(source, 61)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_cannot_be_read_is_named_in_one_line(folder, tmp_path, workers):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    bad = sorted((copy / "val").glob("*/*"))[3]
    bad.write_bytes(bad.read_bytes()[:40])
    source = load_streamed("imagefolder", copy, 32, workers=workers)
    with pytest.raises(ValueError, match="cannot be decoded") as caught:
        list(source.test_batches(4))
    assert str(caught.value).startswith(str(bad))
    assert "\n" not in str(caught.value)


def test_other_errors_of_a_reader_are_told_as_they_are(folder, monkeypatch):
    def fail(*given):
        raise RuntimeError("of our own making")

    source = load_streamed("imagefolder", folder, 32, workers=1)
    monkeypatch.setattr("drnn.data.streamed.Decoded.__getitem__", fail)
    with pytest.raises(RuntimeError, match="of our own making"):
        list(source.test_batches(4))


def test_a_message_of_several_lines_comes_whole(folder, monkeypatch):
    def fail(record):
        raise ValueError("first: a\nsecond: b")

    source = load_streamed("imagefolder", folder, 32, workers=1)
    monkeypatch.setattr("drnn.data.streamed.decode", fail)
    with pytest.raises(ValueError, match="second: b") as caught:
        list(source.test_batches(4))
    assert str(caught.value) == "first: a\nsecond: b"
