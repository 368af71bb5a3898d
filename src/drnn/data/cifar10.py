"""CIFAR-10 (Krizhevsky, 2009): from a folder in the official binary or python layout, or torchvision's download."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from drnn.data.dataset import Dataset
from drnn.models.preprocessing import CIFAR10_MEAN, CIFAR10_STD

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BINARY, PYTHON = "cifar-10-batches-bin", "cifar-10-batches-py"
NUM_TRAIN = 50_000
RECORD = 1 + 3 * 32 * 32  # label, then red, green and blue planes
SHA256 = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}


def load_cifar10(root: str | Path = "data", download: bool = False) -> Dataset:
    """50,000 training and 10,000 test images.

    Args:
        root: a folder that holds ``cifar-10-batches-bin`` or ``cifar-10-batches-py``, or is one of them.
        download: let torchvision fetch the python layout into ``root`` where neither is there.

    Raises:
        FileNotFoundError: no CIFAR-10 under ``root``.
        ValueError: a file that is not byte for byte the official one.
    """
    root = Path(root)
    for folder in (root, root / BINARY):
        if (folder / "test_batch.bin").exists():
            return _dataset(*read_binary(folder, SHA256))
    parent = root.absolute().parent if root.absolute().name == PYTHON else root
    if not download and not (parent / PYTHON).is_dir():
        raise FileNotFoundError(
            f"no CIFAR-10 in {root}: it should hold {BINARY}/ or {PYTHON}/ (the official archives, unpacked); "
            "give its folder with --data_root, or fetch it once: drnn train cifar10-dr16 --download true"
        )
    return _dataset(*_read_python(parent, download))


def _dataset(train_images: Tensor, train_labels: Tensor, test_images: Tensor, test_labels: Tensor) -> Dataset:
    return Dataset("cifar10", train_images, train_labels, test_images, test_labels, CLASSES, CIFAR10_MEAN, CIFAR10_STD)


def read_binary(folder: Path, checksums: dict[str, str]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Read a folder in the binary layout: the files named in ``checksums``, the last of them being the test.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file has other bytes than its SHA-256 says.
    """
    parts = [_read_file(folder / name, digest) for name, digest in checksums.items()]
    train = torch.cat([images for images, _ in parts[:-1]]), torch.cat([labels for _, labels in parts[:-1]])
    return (*train, *parts[-1])


def _read_file(path: Path, digest: str) -> tuple[Tensor, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; unpack the official binary archive again")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest or len(content) % RECORD:
        raise ValueError(
            f"{path} ({len(content)} bytes) is not the official file: its SHA-256 differs; unpack the archive again"
        )
    records = torch.from_numpy(np.frombuffer(content, np.uint8).copy()).view(-1, RECORD)
    return records[:, 1:].reshape(-1, 3, 32, 32).contiguous(), records[:, 0].long()


def _read_python(root: Path, download: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from torchvision.datasets import CIFAR10

    tensors = []
    for train in (True, False):
        try:  # torchvision compares every file with its official MD5 before it unpickles any
            part = CIFAR10(str(root), train=train, download=download)
        except RuntimeError as error:
            raise ValueError(
                f"{root / PYTHON} is incomplete or damaged ({error}); unpack the official archive again"
            ) from error
        tensors += [torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets)]
    return tensors[0], tensors[1], tensors[2], tensors[3]
