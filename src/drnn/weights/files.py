"""Weights from a file, and nothing but weights: no file that is opened here can run code."""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

PICKLES = (".pt", ".pth", ".bin", ".tar", ".ckpt")
NESTED = ("state_dict", "model", "state_dict_ema")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Names and tensors of a safetensors file, or of an older torch file, which is read with ``weights_only=True``.

    Training checkpoints that keep the weights under "state_dict" or "model" are opened too.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, one that holds more than tensors and plain values, or another ending.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error
    if path.suffix not in PICKLES:
        raise ValueError(f"{path} received; weights are .safetensors, or one of {', '.join(PICKLES)}")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is refused: it is damaged, or it asks for code to run while it is read, which weights never need. "
            "Have its source save it as safetensors"
        ) from error
    except (RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is damaged or no file of weights: {str(error).splitlines()[0]}") from error
    for key in NESTED:
        if isinstance(held, dict) and isinstance(held.get(key), dict):
            held = held[key]
    if not isinstance(held, dict) or not held or not all(isinstance(value, Tensor) for value in held.values()):
        raise ValueError(f"{path} holds no weights: names with tensors are expected")
    return held


def fill(model: nn.Module, weights: dict[str, Tensor], origin: str) -> None:
    """Give ``model`` the weights.

    Args:
        model: the network.
        weights: every entry of its state, and no more.
        origin: where they come from, for the message.

    Raises:
        ValueError: names or shapes of another network; the model is left as it was.
    """
    expected = model.state_dict()
    wrong = sorted(expected.keys() ^ weights.keys())
    wrong = wrong or [name for name in expected if expected[name].shape != weights[name].shape]
    if wrong:
        name = getattr(model, "name", type(model).__name__)
        raise ValueError(f"{origin} does not fit {name}: {len(wrong)} entries differ, first {wrong[:3]}")
    model.load_state_dict(weights)
