"""Images read from files: the same whatever the number of readers or processes, and wrong files named."""

import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from drnn.cli.main import main
from drnn.data import ALONE, Augmentation, EpochPlan, Share, hold_out, limit, load_dataset, load_streamed
from drnn.data.records import Record
from drnn.data.streamed import decode, evaluation_transform
from drnn.training import find_recipe, train
from drnn.training.session import Session

VARIED = Augmentation(flip=True, distortion=True)
CLASSES = ("one", "seven", "three")
PLAN = EpochPlan(3, 1, 12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Handwritten digits as an ImageNet folder: JPEG for training, PNG for the test, odd sizes."""
    root, digits = tmp_path_factory.mktemp("imagenet"), load_dataset("digits")
    for part, ending, count in (("train", "JPEG", 20), ("val", "png", 7)):
        for name, label in (("one", 1), ("three", 3), ("seven", 7)):
            (root / part / name).mkdir(parents=True)
            chosen = digits.train_images[digits.train_labels == label][:count]
            for number, image in enumerate(chosen):
                picture = Image.fromarray(image[0].numpy()).resize((40 + number, 50), Image.Resampling.BILINEAR)
                picture.convert("RGB").save(root / part / name / f"{number}.{ending}", quality=90)
    return root


def as_tars(folder, root):
    """The same images as WebDataset shards."""
    for part in ("train", "val"):
        paths = sorted((folder / part).glob("*/*"))
        for shard in range(2):
            with tarfile.open(root / f"{part}-{shard:03}.tar", "w") as archive:
                for number, path in list(enumerate(paths))[shard::2]:
                    entries = {path.suffix.lower(): path.read_bytes(), ".cls": str(CLASSES.index(path.parent.name))}
                    for ending, content in entries.items():
                        content = content if isinstance(content, bytes) else content.encode()
                        info = tarfile.TarInfo(f"{number:04}{ending}")
                        info.size = len(content)
                        archive.addfile(info, io.BytesIO(content))
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return root


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


def test_the_test_image_is_squeezed_and_cut_from_the_centre():
    ramp = torch.arange(256).expand(3, 100, 256).to(torch.uint8)
    cut = evaluation_transform(224)(ramp)
    assert cut.shape == (3, 224, 224)
    assert cut[0, 0].tolist() == list(range(16, 240))


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


def test_tars_give_the_same_images(folder, tmp_path):
    files, tars = (
        load_streamed(kind, root, 32, workers=0)
        for kind, root in (("imagefolder", folder), ("webdataset", as_tars(folder, tmp_path)))
    )
    assert tars.classes == files.classes
    pairs = zip(sorted(files.test, key=lambda r: r.content), sorted(tars.test, key=lambda r: r.content), strict=True)
    assert all((a.content, a.label) == (b.content, b.label) for a, b in pairs)
    assert len(epoch(tars)) == 5
    with pytest.raises(IndexError):
        tars.test[21]


def test_damaged_tars_are_named(folder, tmp_path):
    root = as_tars(folder, tmp_path)
    shard = root / "train-000.tar"
    with tarfile.open(shard, "a") as archive:
        archive.addfile(tarfile.TarInfo("odd.jpg"))
    with pytest.raises(ValueError, match=r"train-000\.tar: 1 images without a label .* \['odd'\]"):
        load_streamed("webdataset", root, 32)
    shard.write_bytes(b"x" * 2000)
    with pytest.raises(ValueError, match=r"train-000\.tar is damaged"):
        load_streamed("webdataset", root, 32)
    shard.unlink()
    (root / "classes.txt").write_text("one\n")
    with pytest.raises(ValueError, match=r"train-\*\.tar holds the label 2, and the 1 classes are 0\.\.0"):
        load_streamed("webdataset", root, 32)


def write_shard(path, *labels):
    """A tar of as many images, which nobody decodes, as there are labels."""
    with tarfile.open(path, "w") as archive:
        for number, label in enumerate(labels):
            for ending, content in (("png", b"x"), ("cls", str(label).encode())):
                info = tarfile.TarInfo(f"{number}.{ending}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def test_tars_are_tested_on_the_first_name_that_has_shards(tmp_path):
    write_shard(tmp_path / "train-0.tar", 0, 1)
    for name, labels in (("test", [0] * 5), ("validation", [1] * 3), ("val", [1, 0])):
        write_shard(tmp_path / f"{name}-0.tar", *labels)
        assert [record.label for record in load_streamed("webdataset", tmp_path, 8).test] == labels


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 1], [0, -1], r"val-\*\.tar holds the label -1, and the 2 classes are 0\.\.1"),
        ([0, 1], [], r"val-\*\.tar holds no images"),
        ([], [0, 1], r"train-\*\.tar holds no images"),
        ([], [], r"train-\*\.tar holds no images"),
    ],
)
def test_tars_without_images_or_classes_are_named(train, test, message, tmp_path):
    write_shard(tmp_path / "train-0.tar", *train)
    write_shard(tmp_path / "val-0.tar", *test)
    with pytest.raises(ValueError, match=message):
        load_streamed("webdataset", tmp_path, 8)


def test_a_hugging_face_set_gives_the_same_images(folder, tmp_path):
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is an extra: pip install 'drnn[hub]'")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})
    parts = {}
    for part, name in (("train", "train"), ("val", "validation")):
        paths = sorted((folder / part).glob("*/*"))
        rows = {"image": [str(path) for path in paths], "label": [CLASSES.index(path.parent.name) for path in paths]}
        parts[name] = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "hf"))
    source = load_streamed("huggingface", tmp_path / "hf", 32, workers=0)
    files = load_streamed("imagefolder", folder, 32, workers=0)
    assert (source.classes, source.num_train) == (CLASSES, 60)
    for (a, la), (b, lb) in zip(source.test_batches(21), files.test_batches(21), strict=True):
        assert torch.equal(la, lb)
        assert torch.equal(a.flatten(1).sum(1).sort().values, b.flatten(1).sum(1).sort().values)


@pytest.mark.parametrize(
    ("labels", "images", "message"),
    [
        ([0, -1], 2, "the split 'test' of .* holds the label -1, and the 3 classes are 0..2"),
        ([0, None], 2, "the split 'test' of .* has 0 rows without an image and 1 without a label"),
        ([0, 1], 1, "the split 'test' of .* has 1 rows without an image and 0 without a label"),
    ],
)
def test_rows_of_a_hugging_face_set_that_cannot_be_used_are_named(labels, images, message, tmp_path):
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is an extra: pip install 'drnn[hub]'")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})

    def rows(labels, images):
        shown = [{"bytes": b"x", "path": None}] * images + [None] * (len(labels) - images)
        return datasets.Dataset.from_dict({"image": shown, "label": labels}, features=features)

    parts = {"train": rows([0, 1, 2], 3), "test": rows(labels, images)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path))
    with pytest.raises(ValueError, match=message):
        load_streamed("huggingface", tmp_path, 8)


def picture(mode, size=(9, 7), **save):
    values = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 4), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values, "RGBA").convert(mode).save(buffer, **save)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "save"),
    [
        ("L", {"format": "PNG"}), ("P", {"format": "PNG"}), ("RGBA", {"format": "PNG"}), ("1", {"format": "PNG"}),
        ("CMYK", {"format": "JPEG"}), ("L", {"format": "JPEG"}), ("RGB", {"format": "BMP"}),
        ("RGB", {"format": "TIFF"}), ("RGBA", {"format": "WEBP", "lossless": True}),
        ("P", {"format": "GIF", "save_all": True, "append_images": [Image.new("L", (9, 7))]}),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_images_of_any_colours_are_read(mode, save):
    content = picture(mode, **save)
    pixels = decode(Record("it", content, 0))
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (3, 7, 9))
    with Image.open(io.BytesIO(content)) as image:
        shown = image.convert("RGBA")
    on_white = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    assert (pixels.permute(1, 2, 0).int() - torch.from_numpy(np.array(on_white)).int()).abs().max() <= 1


def test_sixteen_bits_are_scaled_to_eight():
    buffer, eight = io.BytesIO(), np.arange(63, dtype=np.uint16).reshape(7, 9) * 4
    Image.fromarray(eight * 257).save(buffer, "PNG")
    pixels = decode(Record("it", buffer.getvalue(), 0))
    assert pixels.dtype == torch.uint8
    assert torch.equal(pixels, torch.from_numpy(eight.astype(np.uint8)).expand(3, 7, 9))


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
@pytest.mark.parametrize("content", [b"", b"no image", picture("RGB", format="PNG")[:60]])
def test_an_unreadable_image_is_named(content):
    with pytest.raises(ValueError, match=r"shelf/7\.png cannot be decoded"):
        decode(Record("shelf/7.png", content, 0))


def test_missing_and_differing_parts_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="has no folder train"):
        load_streamed("imagefolder", tmp_path, 32)
    for part, names in (("train", "ab"), ("val", "ac")):
        for name in names:
            (tmp_path / part / name).mkdir(parents=True)
            (tmp_path / part / name / "x.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"differ in 2 classes, first \['b', 'c'\]"):
        load_streamed("imagefolder", tmp_path, 32)
    with pytest.raises(ValueError, match="did you mean 'imagefolder'"):
        load_streamed("imagefolders", folder, 32)
    with pytest.raises(ValueError, match=r"data set 'cifar10' received; drnn\.data\.load_dataset takes it"):
        load_streamed("cifar10", folder, 32)
    with pytest.raises(ValueError, match=r"data set 'imagefolder' received; drnn\.data\.load_streamed takes it"):
        load_dataset("imagefolder", folder)
    with pytest.raises(FileNotFoundError, match="has no train-"):
        load_streamed("webdataset", folder, 32)


def test_the_whole_imagenet_path(folder, tmp_path, monkeypatch, capsys):
    """An ImageNet recipe on an image folder, stopped in mid-epoch, goes on to the same bits and evaluates again."""
    options = ["--data_root", str(folder), "--image_size", "32", "--batch_size", "12", "--epochs", "2", "--workers",
               "0", "--threads", "1", "--quiet", "--model", "dr_resnet16_cifar"]  # fmt: skip
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main(["train", "imagenet-dr35", "--out", str(whole), *options]) == 0
    update = Session.update

    def stop(session, images, labels):
        if session.steps == 7:
            raise KeyboardInterrupt
        return update(session, images, labels)

    monkeypatch.setattr(Session, "update", stop)
    assert main(["train", "imagenet-dr35", "--out", str(broken), "--checkpoint_minutes", "0", *options]) == 130
    monkeypatch.undo()
    assert main(["train", "imagenet-dr35", "--out", str(broken), *options]) == 0
    assert (whole / "model.safetensors").read_bytes() == (broken / "model.safetensors").read_bytes()
    capsys.readouterr()
    assert main(["eval", str(whole), "--json"]) == 0
    result, summary = json.loads(capsys.readouterr().out), json.loads((whole / "summary.json").read_text())
    assert result["images"] == summary["images"] == 21
    assert result["acc1"] == summary["acc1"]


def test_a_bottleneck_network_of_table_2_trains_on_an_image_folder(folder, tmp_path):
    recipe = replace(
        find_recipe("imagenet-dr35"), data_root=str(folder), image_size=32, batch_size=30, epochs=1, workers=2,
        threads=1, held_out=20,
    )  # fmt: skip
    summary = train(recipe, tmp_path / "run", progress=False)
    assert summary["images"] == 20
    assert summary["max_loops"] == 10
