"""Weights from a file, and nothing but weights: no file that is opened here can run code."""

import argparse
import errno
import hashlib
import pickle
from pathlib import Path
from typing import TypeGuard

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS = "model.safetensors"  # in a run, as in a folder of `save_pretrained`
SAFETENSORS = ".safetensors"
PICKLES = (".pt", ".pth", ".bin", ".tar", ".ckpt")
WRAPPERS, COUNT = ("module.", "_orig_mod."), "n_averaged"
NESTED = ("state_dict_ema", "model_ema", "state_dict", "model")  # an average first, as timm takes it
LEVELS = 2  # to look into; a file can hold itself
UNREADABLE = (errno.EACCES, errno.EPERM, errno.EIO)  # says nothing of what the file holds


def fingerprint(folder: Path, name: str = WEIGHTS) -> str:
    """SHA-256 of a run's weights, or of another of its files.

    Raises:
        FileNotFoundError: no weights there.
    """
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {name}; give the folder of a finished run, as drnn train writes it")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Names and tensors of a safetensors file, or of an older torch file, which is read with ``weights_only=True``.

    Checkpoints of torchvision's and timm's trainers are opened too: of the weights under "state_dict" or "model" and
    their average under "model_ema" or "state_dict_ema" the average is taken, where there is one. Names lose the
    "module." that training in several processes, or averaging, puts before all of them, and "_orig_mod." of
    torch.compile.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, one that holds more than tensors and plain values, or another ending.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix != SAFETENSORS and path.suffix not in PICKLES:
        raise ValueError(f"{path} received; weights are {SAFETENSORS}, or one of {', '.join(PICKLES)}")
    try:
        held = load_file(path) if path.suffix == SAFETENSORS else _unpickled(path)
    except OSError as error:
        if error.errno in UNREADABLE:
            raise
        raise ValueError(f"{path} is damaged or no file of weights: {told(error)}") from error
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is refused: it is damaged, or it asks for code to run while it is read, which weights never need. "
            "Have its source save it as safetensors"
        ) from error
    except Exception as error:  # a damaged file can raise anything
        raise ValueError(f"{path} is damaged or no file of weights: {told(error)}") from error
    for _ in range(LEVELS):
        if isinstance(held, dict) and (inner := [held[key] for key in NESTED if isinstance(held.get(key), dict)]):
            held = inner[0]
    if not are_weights(held) or not held:
        raise ValueError(f"{path} holds no weights: names with tensors are expected")
    return unwrapped(held)


def unwrapped(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without what DistributedDataParallel, AveragedModel and torch.compile put before all names, and their count."""
    named = {name: value for name, value in weights.items() if name != COUNT}
    for wrapper in WRAPPERS:
        if named and all(name.startswith(wrapper) for name in named):
            return unwrapped({name.removeprefix(wrapper): value for name, value in named.items()})
    return weights


def _unpickled(path: Path):
    with torch.serialization.safe_globals([argparse.Namespace]):  # options of trainers: attributes, no code
        return torch.load(path, map_location="cpu", weights_only=True)


def told(error: Exception) -> str:
    """Kind and first line of an error."""
    return f"{type(error).__name__} {str(error).partition(chr(10))[0]}".strip()


def are_weights(held: object) -> TypeGuard[dict[str, Tensor]]:
    """Whether it is names with tensors."""
    return isinstance(held, dict) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in held.items())


def differences(expected: dict[str, Tensor], received: dict[str, Tensor]) -> list[str]:
    """Entries that only one state has, or else those of another shape or kind of number."""
    names = sorted(expected.keys() ^ received.keys())
    return names or [name for name in expected if _form(expected[name]) != _form(received[name])]


def _form(tensor: Tensor) -> tuple:
    """Shape, and floating, complex or neither: what is copied between kinds is cut without a word."""
    return tensor.shape, tensor.is_floating_point(), tensor.is_complex()


def fill(model: nn.Module, weights: dict[str, Tensor], origin: str) -> None:
    """Give ``model`` the weights.

    Args:
        model: the network.
        weights: every entry of its state, and no more.
        origin: where they come from, for the message.

    Raises:
        ValueError: names, shapes or kinds of another network; the model is left as it was.
    """
    check_fit(model, weights, origin)
    model.load_state_dict(weights)


def check_fit(model: nn.Module, weights: dict[str, Tensor], origin: str) -> None:
    """The same without giving; the model may be on the meta device.

    Raises:
        ValueError: names, shapes or kinds (floating for whole numbers, ...) of another network.
    """
    if wrong := differences(model.state_dict(), weights):
        name = getattr(model, "name", type(model).__name__)
        raise ValueError(
            f"{origin} does not fit {name}: {len(wrong)} entries differ by name, shape or kind of number, "
            f"first {wrong[:3]}"
        )
