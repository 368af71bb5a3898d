"""Data sets, their files and their augmentation."""

import hashlib
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drnn.data import (
    Augmentation,
    Cutout,
    EpochPlan,
    Normalize,
    PadCropFlip,
    Share,
    held_images,
    hold_out,
    limit,
    load_dataset,
)
from drnn.data.cifar10 import load_cifar10, read_binary
from drnn.models import Preprocessing
from drnn.models.preprocessing import CIFAR10_MEAN, CIFAR10_STD


def slow_augment(images, padding, flip, generator, mode):
    """One image after the other."""
    count, channels, height, width = images.shape
    draws = torch.randint(2 * padding + 1, (2, count, 1), generator=generator)[:, :, 0].tolist()
    flips = (torch.rand(count, 1, generator=generator)[:, 0] < 0.5).tolist() if flip else [False] * count
    out = []
    for i, image in enumerate(images):
        framed = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=torch.uint8)
        framed[:, padding : padding + height, padding : padding + width] = image
        if mode == "reflect":
            framed = torch.nn.functional.pad(image.float(), (padding,) * 4, "reflect").byte()
        cut = framed[:, draws[0][i] : draws[0][i] + height, draws[1][i] : draws[1][i] + width]
        out.append(cut.flip(2) if flips[i] else cut)
    return torch.stack(out)


@settings(deadline=None, max_examples=30)
@given(
    count=st.integers(1, 9),
    channels=st.sampled_from([1, 3]),
    padding=st.integers(0, 4),
    flip=st.booleans(),
    seed=st.integers(0, 99),
    mode=st.sampled_from(["zeros", "reflect"]),
)
def test_augmentation_equals_the_slow_one(count, channels, padding, flip, seed, mode):
    images = torch.randint(
        256, (count, channels, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    fast = PadCropFlip(padding, flip, mode)(images, torch.Generator().manual_seed(seed))
    assert torch.equal(fast, slow_augment(images, padding, flip, torch.Generator().manual_seed(seed), mode))


def test_padding_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="padding_mode 'mirror' received; choose zeros or reflect"):
        PadCropFlip(2, mode="mirror")
    with pytest.raises(ValueError, match="padding 4 received for images of 4 x 6; a reflected border"):
        PadCropFlip(4, mode="reflect")(torch.zeros(1, 1, 4, 6, dtype=torch.uint8), torch.Generator())


def test_padding_mode_reaches_the_images():
    data = load_dataset("digits")
    first = [
        next(data.train_batches(EpochPlan(0, 0, 100), Augmentation(padding=3, padding_mode=mode)))[0]
        for mode in ("zeros", "reflect")
    ]
    assert not torch.equal(*first)


def test_normalize():
    images = torch.randint(256, (4, 3, 5, 5), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CIFAR10_MEAN, CIFAR10_STD))
    expected = (images.double() / 255 - mean) / std
    torch.testing.assert_close(Normalize(CIFAR10_MEAN, CIFAR10_STD)(images), expected.float(), rtol=1e-5, atol=1e-5)
    assert Normalize.of(Preprocessing((3, 5, 5), CIFAR10_MEAN, CIFAR10_STD)) == Normalize(CIFAR10_MEAN, CIFAR10_STD)


@given(images=st.integers(0, 50), size=st.integers(1, 20), seed=st.integers(0, 3), epoch=st.integers(0, 3))
def test_an_epoch_visits_every_image_once(images, size, seed, epoch):
    plan = EpochPlan(seed, epoch, size)
    batches = list(plan.batches(images))
    seen = torch.cat([rows for _, rows in batches]).tolist() if batches else []
    assert len(set(seen)) == len(seen) == images - images % size
    assert [number for number, _ in batches] == list(range(plan.num_batches(images)))
    assert all(len(rows) == size for _, rows in batches)


def test_an_epoch_goes_on_anywhere_and_differs_from_the_next():
    data, augmentation = load_dataset("digits"), Augmentation(padding=1, flip=True, cutout=3)
    whole = list(data.train_batches(EpochPlan(5, 2, 100), augmentation))
    rest = list(data.train_batches(EpochPlan(5, 2, 100, first=7), augmentation))
    assert len(whole) == 11
    assert len(rest) == 4
    for (images, labels), (again, same) in zip(whole[7:], rest, strict=True):
        assert torch.equal(images, again)
        assert torch.equal(labels, same)
    for other in (EpochPlan(5, 3, 100), EpochPlan(6, 2, 100)):
        assert not torch.equal(next(data.train_batches(other, augmentation))[0], whole[0][0])


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_what_one_would_see(processes):
    data, augmentation = load_dataset("digits"), Augmentation(padding=1, flip=True)
    plan, shares = EpochPlan(0, 0, 12), [Share(rank, processes) for rank in range(processes)]
    (images, labels), *_ = data.train_batches(plan, augmentation)
    parts = [next(data.train_batches(plan, augmentation, share)) for share in shares]
    assert torch.equal(torch.cat([part for part, _ in parts]), images)
    assert torch.equal(torch.cat([part for _, part in parts]), labels)
    tests = [torch.cat([y for _, y in data.test_batches(50, share)]) for share in shares]
    assert sum(map(len, tests)) == 599
    for rank, part in enumerate(tests):
        assert torch.equal(part, data.test_labels[rank::processes])


@settings(deadline=None)
@given(side=st.integers(0, 9), seed=st.integers(0, 20))
def test_cutout_greys_one_square_an_image(side, seed):
    images = torch.full((5, 3, 8, 6), 200, dtype=torch.uint8)
    out = Cutout(side, (1, 2, 3))(images, torch.Generator().manual_seed(seed))
    for image in out:
        cut = image[0] == 1
        assert torch.equal(image[1] == 2, cut)
        assert torch.equal(image[2] == 3, cut)
        assert (image[:, ~cut] == 200).all()
        rows, columns = cut.any(1), cut.any(0)
        assert torch.equal(cut, rows[:, None] & columns[None])
        assert int(rows.sum()) <= side >= int(columns.sum())
        assert int(cut.sum()) >= (side // 2) * (side // 2)


def test_digits_are_split_once_and_in_proportion():
    digits = load_dataset("digits")
    assert (len(digits.train_images), len(digits.test_images)) == (1198, 599)
    assert digits.image_size == (1, 8, 8)
    assert int(digits.train_images.max()) == 255
    assert torch.equal(load_dataset("digits").test_labels, digits.test_labels)
    for label in range(10):
        share = float((digits.test_labels == label).float().mean() / (digits.train_labels == label).float().mean())
        assert share == pytest.approx(1, abs=0.05)


def test_held_out_images_come_from_training():
    digits = load_dataset("digits")
    held = hold_out(digits, 200, seed=1)
    both = torch.cat([held.train_images, held.test_images]).flatten(1)
    assert sorted(map(tuple, both.tolist())) == sorted(map(tuple, digits.train_images.flatten(1).tolist()))
    with pytest.raises(ValueError, match="1198 images to hold out received"):
        hold_out(digits, 1198)


@pytest.mark.parametrize(("training", "most", "count"), [(1197, 200, 200), (1197, 5000, 1196), (5, 1000, 4)])
def test_images_to_look_at_are_held_out_and_leave_one_to_train_on(training, most, count):
    digits = limit(load_dataset("digits"), training)
    assert torch.equal(held_images(digits, most), hold_out(digits, count).test_images)


def test_images_to_look_at_are_one_or_more():
    with pytest.raises(ValueError, match="0 images to hold out received"):
        held_images(load_dataset("digits"), 0)


def binary_folder(folder: Path):
    """Two images a file, in the official record layout, with their checksums."""
    checksums, images = {}, torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    for name, part in (("data_batch_1.bin", images[:2]), ("test_batch.bin", images[2:])):
        content = b"".join(bytes([3 + i]) + image.numpy().tobytes() for i, image in enumerate(part))
        (folder / name).write_bytes(content)
        checksums[name] = hashlib.sha256(content).hexdigest()
    return checksums, images


def test_binary_layout_is_read_as_written(tmp_path):
    checksums, images = binary_folder(tmp_path)
    train_images, train_labels, test_images, test_labels = read_binary(tmp_path, checksums)
    assert torch.equal(torch.cat([train_images, test_images]), images)
    assert train_labels.tolist() == test_labels.tolist() == [3, 4]


def test_damaged_and_missing_files_are_named(tmp_path):
    checksums, _ = binary_folder(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes((tmp_path / "test_batch.bin").read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"test_batch\.bin \(6145 bytes\) is not the official file"):
        read_binary(tmp_path, checksums)
    (tmp_path / "data_batch_1.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"data_batch_1\.bin is missing"):
        read_binary(tmp_path, checksums)


def test_foreign_files_are_refused_before_anything_reads_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="no CIFAR-10 in"):
        load_dataset("cifar10", tmp_path)
    binary_folder(tmp_path)
    with pytest.raises(ValueError, match="is not the official file"):
        load_dataset("cifar10", tmp_path)
    other = tmp_path / "other"
    (other / "cifar-10-batches-py").mkdir(parents=True)
    (other / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ValueError, match="incomplete or damaged"):
        load_dataset("cifar10", other)
    with pytest.raises(ValueError, match="did you mean 'cifar10'"):
        load_dataset("cifar")


def test_real_cifar10(cifar10):
    data = load_dataset("cifar10", cifar10)
    assert torch.bincount(data.train_labels).tolist() == [5000] * 10
    assert torch.bincount(data.test_labels).tolist() == [1000] * 10
    mean = data.train_images.double().mean((0, 2, 3)) / 255
    assert mean.tolist() == pytest.approx(CIFAR10_MEAN, abs=1e-4)


def test_gradients_go_through_a_normalisation_that_inference_used_first():
    normalize, images = Normalize((0.123, 0.456), (0.2, 0.3)), torch.ones(1, 2, 3, 3, dtype=torch.uint8)
    with torch.inference_mode():
        normalize(images)
    x = images.float().requires_grad_()
    normalize(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad[0, :, 0, 0], 1 / (255 * torch.tensor([0.2, 0.3])))


def test_the_folder_of_python_files_may_be_where_one_stands(tmp_path, monkeypatch):
    (tmp_path / "cifar-10-batches-py").mkdir()
    monkeypatch.chdir(tmp_path / "cifar-10-batches-py")
    with pytest.raises(ValueError, match="is incomplete or damaged"):
        load_cifar10(".")
