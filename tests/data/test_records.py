"""Image folders, tar files and Hugging Face sets hold the same images, and wrong ones are named."""

import io
import tarfile

import pytest
import torch

from drnn.data import ALONE, Augmentation, EpochPlan, load_dataset, load_streamed

CLASSES = ("one", "seven", "three")


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


def test_tars_give_the_same_images(folder, tmp_path):
    files, tars = (
        load_streamed(kind, root, 32, workers=0)
        for kind, root in (("imagefolder", folder), ("webdataset", as_tars(folder, tmp_path)))
    )
    assert tars.classes == files.classes
    pairs = zip(sorted(files.test, key=lambda r: r.content), sorted(tars.test, key=lambda r: r.content), strict=True)
    assert all((a.content, a.label) == (b.content, b.label) for a, b in pairs)
    assert len(list(tars.train_batches(EpochPlan(3, 1, 12), Augmentation(flip=True, distortion=True), ALONE))) == 5
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


@pytest.mark.parametrize("text", ["cat\ndog\nbird", "\ufeffcat \r\ndog\r\nbird\n\n"])
def test_names_of_classes_are_what_stands_in_the_lines(text, tmp_path):
    for part in ("train", "val"):
        write_shard(tmp_path / f"{part}-0.tar", 0, 1, 2)
    (tmp_path / "classes.txt").write_bytes(text.encode())
    assert load_streamed("webdataset", tmp_path, 8).classes == ("cat", "dog", "bird")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat\n\ndog\n", r"classes\.txt, line 2 is empty"),
        (b"Stra\xdfe\n", r"classes\.txt is no UTF-8"),
    ],
)
def test_lines_that_name_no_class_are_refused(content, message, tmp_path):
    for part in ("train", "val"):
        write_shard(tmp_path / f"{part}-0.tar", 0, 1, 2)
    (tmp_path / "classes.txt").write_bytes(content)
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


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (CLASSES[::-1], "classes of the split 'test' of .* are .*, those of the split 'train' of "),
        (None, "the split 'test' of .* has 0 columns of type ClassLabel"),
    ],
)
def test_splits_of_a_hugging_face_set_that_do_not_fit_together_are_refused(label, message, tmp_path):
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is an extra: pip install 'drnn[hub]'")

    def rows(kind):
        features = datasets.Features({"image": datasets.Image(), "label": kind})
        shown = [{"bytes": b"x", "path": None}] * 3
        return datasets.Dataset.from_dict({"image": shown, "label": [0, 1, 2]}, features=features)

    test = datasets.Value("int64") if label is None else datasets.ClassLabel(names=list(label))
    parts = {"train": rows(datasets.ClassLabel(names=list(CLASSES))), "test": rows(test)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path))
    with pytest.raises(ValueError, match=message):
        load_streamed("huggingface", tmp_path, 8)


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
