"""A network as a program of torch.export (``.pt2``), and, as an experiment, compiled ahead of time."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from drnn.export.facts import facts_of, prepared
from drnn.export.files import refuse_code, tensors_only, written_whole
from drnn.export.quiet import quiet_loggers
from drnn.export.runner import Axes, Prediction, refuse_other_images, refuse_other_thresholds, surroundings
from drnn.export.trace import trace
from drnn.export.verify import Verified, verify
from drnn.models import Classifier, Preprocessing
from drnn.weights.files import told

FACTS = "drnn.json"


class ProgramNetwork(nn.Module):
    """A file of `export_program`: images in; logits, loops and multiply-adds out. Thresholds may be given anew.

    Attributes:
        facts: the file's metadata: model, form, num_loops, ...
        preprocessing: what images go through first.
        classes: names of the K answers, or none.
    """

    thresholds: Tensor

    def __init__(self, graph, thresholds: Tensor, facts: dict, any_size: bool):
        super().__init__()
        self.graph, self.facts = graph, facts
        self.preprocessing, self.classes = surroundings(facts)
        channels, height, width = self.preprocessing.size
        self._axes: Axes = ("N", channels, "H", "W") if any_size else ("N", channels, height, width)
        self.register_buffer("thresholds", thresholds)
        self.eval()

    def forward(self, images: Tensor, thresholds: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Run.

        Args:
            images: floats ``(N, C, H, W)``.
            thresholds: ``(B,)``, in units of the gates' margin; those in the file by default. Higher skips more.

        Raises:
            TypeError: images or thresholds that are no tensor.
            ValueError: images of another type or shape, several for a file of the form "single", another number of
                thresholds, or NaN among them.
        """
        if not isinstance(images, Tensor):
            raise TypeError(f"images as {type(images).__qualname__} received; give a tensor, as torch.from_numpy does")
        refuse_other_images(images, self._axes, self.facts["form"])
        if thresholds is None:
            thresholds = self.thresholds
        elif not isinstance(thresholds, Tensor):
            raise TypeError(f"thresholds as {type(thresholds).__qualname__} received; give a tensor")
        else:
            refuse_other_thresholds(thresholds, len(self.thresholds))
        some = images.float() if len(images) else images.new_zeros(1, *images.shape[1:], dtype=torch.float32)
        answers = self.graph(some, thresholds.float()) if len(thresholds) else self.graph(some)
        logits, loops, macs = (part[: len(images)] for part in answers)  # conditions cannot run on none
        return logits, loops, macs

    def train(self, mode: bool = True) -> "ProgramNetwork":
        """A program computes as in evaluation, and what torch.export makes of it refuses to be told so.

        Raises:
            ValueError: ``mode``.
        """
        if mode:
            raise ValueError("a program cannot be trained; train the network that it was made of, and export it again")
        self.training = False
        return self

    @torch.no_grad()
    def answer(self, images: Tensor, thresholds: Tensor) -> Prediction:
        """The same as numpy, as the comparison asks."""
        return Prediction(*(np.asarray(part) for part in self(images, thresholds if len(thresholds) else None)))


def export_program(
    model: Classifier,
    path: str | Path,
    preprocessing: Preprocessing | None = None,
    form: str = "branches",
    norms: str = "once",
    any_size: bool = True,
    compiled: bool = False,
) -> Verified:
    """Write ``model`` as a ``.pt2``, reloaded and compared before it is in its place.

    Args:
        model: any network but ConvNet-AIG.
        path: the file to write.
        preprocessing: kept in the file; the model's own by default, or the usual one of its name and size.
        form: "branches", "single", "loop" or "dense".
        norms: "once" or "folded".
        any_size: take any H and W.
        compiled: an experiment: AOTInductor for this kind of machine; it needs a C++ compiler.

    Raises:
        TypeError: not a `Classifier`.
        ValueError: a network or option that cannot be exported or compiled, preprocessing for images of another kind, a
            folder in place of a file, or a file that does not equal the model.
    """
    network, preprocessing = prepared(model, preprocessing, form, norms, any_size)
    path, thresholds = Path(path), [str(value) for value in network.thresholds.tolist()]
    facts = facts_of(network, preprocessing, thresholds=thresholds, compiled=compiled, any_size=any_size)
    with written_whole(path) as made:
        program = trace(network, any_size)
        _forget_places(program)
        if compiled:
            compile_program(program, made, facts)
        else:
            torch.export.save(program, made, extra_files={FACTS: json.dumps(facts)})
        try:
            result = verify(model, load_program(made, compiled).answer, network.one_image, any_size)
        except RuntimeError as error:
            raise ValueError(f"the program does not run, nothing was written: {told(error)}") from error
    return result


def _forget_places(program: torch.export.ExportedProgram) -> None:
    """Leave out of its nodes which lines of which files made them: a file holds no paths of a machine."""
    for part in program.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                node.meta.pop("stack_trace", None)


def load_program(path: str | Path, compiled: bool = False) -> ProgramNetwork:
    """Open a file of `export_program`.

    What would run while it is read is refused; still, torch.export's format was not made for files that nobody vouches
    for. Weights as safetensors and ONNX files were.

    Args:
        path: the file.
        compiled: whether it was compiled ahead of time. Such a file is machine code: open only your own.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of `export_program`.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}; drnn export makes one")
    try:
        if compiled:
            graph = torch._inductor.aoti_load_package(str(path))
            facts = json.loads(graph.get_metadata()[FACTS])
            if (any_size := facts.get("any_size")) is None:  # machine code does not tell
                raise ValueError("it does not say what sizes it takes, as those of earlier versions; export it again")
        else:
            refuse_code(Path(path))
            extra = {FACTS: ""}
            with tensors_only(), quiet_loggers("torch._export.serde.serialize"):
                graph = torch.export.load(path, extra_files=extra).module(check_guards=False)  # guards are run as text
            vars(graph)["validate_inputs"] = False  # they also refuse sizes that the graph computes
            images = graph.graph.find_nodes(op="placeholder")[0].meta["val"]
            any_size = not all(isinstance(side, int) for side in images.shape[2:])
            facts = json.loads(extra[FACTS])
        thresholds = torch.tensor([float(value) for value in facts["thresholds"]], dtype=torch.float32)
        return ProgramNetwork(graph, thresholds, facts, any_size)
    except Exception as error:  # torch's errors of damaged archives share no narrower base
        raise ValueError(f"{path} is damaged, or not made by drnn export: {told(error)}") from error


def compile_program(program: torch.export.ExportedProgram, path: Path, facts: dict) -> None:
    """Machine code by AOTInductor, its layout optimisation off: that makes convolutions under conditions wrong."""
    import torch._inductor.config as inductor
    from torch._dynamo.exc import TorchDynamoException

    options = {"layout_optimization": False, "aot_inductor.metadata": {FACTS: json.dumps(facts)}}
    try:
        with inductor.patch(layout_optimization=False):
            torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=options)
    except (RuntimeError, AssertionError, TorchDynamoException) as error:
        raise ValueError(
            f"AOTInductor of torch {torch.__version__} cannot compile this network: {told(error)}"
        ) from error
