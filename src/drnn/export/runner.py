"""An exported file, ready to run: numpy in, named outputs."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from drnn.export.facts import INPUT, ONNX_FACTS, OUTPUTS, THRESHOLDS
from drnn.models import Preprocessing
from drnn.weights.files import told

Provider = str | tuple[str, dict]  # with options
Axes = tuple[str, int, str | int, str | int]  # "N", C, and "H" and "W" or what they have to be


def refuse_other_images(images: np.ndarray | Tensor, axes: Axes, form: str) -> None:
    """Files take batches of normalised images, and of one image in the form "single".

    Raises:
        ValueError: another type, shape or number.
    """
    kind, shape = str(images.dtype).removeprefix("torch."), tuple(images.shape)
    fits = len(shape) == len(axes) and all(
        size == axis or axis == "N" or (axis in ("H", "W") and size > 0) for size, axis in zip(shape, axes, strict=True)
    )
    if "float" not in kind or not fits:
        wanted = ", ".join(map(str, axes))
        raise ValueError(
            f"images of {kind} {shape} received; give floats ({wanted}), normalised as the file's preprocessing says"
        )
    if form == "single" and len(images) != 1:
        raise ValueError(
            f"images of shape {shape} received; this file takes one at a time, (1, C, H, W): export with "
            "--form branches for more"
        )


def refuse_other_thresholds(thresholds: np.ndarray | Tensor, blocks: int) -> None:
    """A threshold a block, and a number each: where one is NaN, every image would leave.

    Raises:
        ValueError: another shape, thresholds for a file without any, or NaN.
    """
    if tuple(thresholds.shape) != (blocks,) or not blocks:
        raise ValueError(f"thresholds of shape {tuple(thresholds.shape)} received; the file has {blocks}")
    if math.isnan(thresholds.max()):
        raise ValueError("threshold nan received; give a number, or an infinite one that opens or closes the gate")


def refuse_absent(providers: Sequence[Provider], there: Sequence[str]) -> None:
    """Where a provider is missing onnxruntime takes the CPU, and its times would be taken for another device's.

    Args:
        providers: asked for, by name or with options.
        there: that this onnxruntime has, or that a session really uses.

    Raises:
        ValueError: one that is not there.
    """
    for name in (each if isinstance(each, str) else each[0] for each in providers):
        if name not in there:
            raise ValueError(f"provider {name} received, which cannot be used here; onnxruntime has {', '.join(there)}")


def surroundings(facts: dict) -> tuple[Preprocessing, tuple[str, ...]]:
    """What images of a file go through first, and names of its answers, or none, from its metadata."""
    return Preprocessing(*(facts[key] for key in ("size", "mean", "std"))), tuple(facts.get("classes", ()))


class Prediction(NamedTuple):
    """For N images, B recursive blocks: ``logits (N, K)``, ``loops (N, B)`` executed, multiply-adds ``macs (N,)``."""

    logits: np.ndarray
    loops: np.ndarray
    macs: np.ndarray


class OnnxNetwork:
    """A file of `export_onnx` in onnxruntime.

    Attributes:
        facts: the metadata that drnn wrote: model, form, num_loops, ...; what other tools add is left out.
        preprocessing: what images go through first; `prepare` does it.
        classes: names of the K answers, or none.

    Args:
        path: the file.
        threads: of one run; 0 leaves onnxruntime's choice.
        providers: onnxruntime's execution providers.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of `export_onnx`, or a provider that cannot be used here.
        ModuleNotFoundError: onnxruntime is not installed.
    """

    def __init__(self, path: str | Path, threads: int = 0, providers: Sequence[Provider] = ("CPUExecutionProvider",)):
        import onnxruntime

        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file {path}; drnn export makes one")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        options.add_session_config_entry("session.force_spinning_stop", "1")  # else they stay busy for 20 ms after each
        refuse_absent(providers, onnxruntime.get_available_providers())
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        except Exception as error:  # onnxruntime's errors share no narrower base
            raise ValueError(f"{path} is damaged or no ONNX file: {told(error)}") from error
        refuse_absent(providers, self.session.get_providers())
        try:
            found = self.session.get_modelmeta().custom_metadata_map
            self.facts = {key: json.loads(found[key]) for key in ONNX_FACTS if key in found}
            self.preprocessing, self.classes = surroundings(self.facts)
            self.num_blocks = len(self.facts["num_loops"])
            _, channels, *sides = self.session.get_inputs()[0].shape  # a number, or the name of an axis that is free
            height, width = (side if isinstance(side, int) else name for side, name in zip(sides, "HW", strict=True))
            self._axes: Axes = ("N", channels, height, width)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} lacks metadata that drnn export writes: {told(error)}") from error

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 ``(N, H, W, C)`` to normalised float32 ``(N, C, H, W)``; the size is left as it is.

        Raises:
            ValueError: another type, or other channels.
        """
        pixels, channels = np.asarray(pixels), self.preprocessing.size[0]
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != channels:
            raise ValueError(f"pixels of {pixels.dtype} {pixels.shape} received; give uint8 (N, H, W, {channels})")
        mean, std = (np.asarray(value, np.float32) for value in (self.preprocessing.mean, self.preprocessing.std))
        return np.ascontiguousarray(((pixels / np.float32(255) - mean) / std).transpose(0, 3, 1, 2), np.float32)

    def __call__(self, images: np.ndarray, thresholds: np.ndarray | None = None) -> Prediction:
        """Run.

        Args:
            images: float32 ``(N, C, H, W)``.
            thresholds: ``(B,)``, in units of the gates' margin; those in the file by default. Higher skips more.

        Raises:
            ValueError: images of another type or shape, several for a file of the form "single", another number of
                thresholds, or NaN among them.
        """
        images = np.asarray(images)
        refuse_other_images(images, self._axes, self.facts.get("form", ""))
        some = images if len(images) else np.zeros((1, *images.shape[1:]), np.float32)  # 1.22 cannot run on none
        feed = {INPUT: some.astype(np.float32, copy=False)}
        if thresholds is not None:
            thresholds = np.asarray(thresholds, np.float32)
            refuse_other_thresholds(thresholds, self.num_blocks)
            feed[THRESHOLDS] = thresholds
        answers = self.session.run(list(OUTPUTS), feed)
        return Prediction(*(np.asarray(part)[: len(images)] for part in answers))

    def answer(self, images: Tensor, thresholds: Tensor) -> Prediction:
        """The same from tensors, as the comparison asks."""
        return self(images.numpy(), thresholds.numpy() if len(thresholds) else None)


def load_onnx(path: str | Path, threads: int = 0) -> OnnxNetwork:
    """Open an exported file in onnxruntime, on the CPU.

    Args:
        path: of `drnn export`.
        threads: of one run; 0 leaves onnxruntime's choice.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: as `OnnxNetwork`, which takes other providers too.
    """
    return OnnxNetwork(path, threads)
