"""Files of weights: hostile, damaged, older and foreign ones."""

import argparse
import os
import random

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from drnn import create_model
from drnn.weights import load_foreign, read_weights

from .images import ramp


def of_timm(name):
    """A call that makes a network of timm's."""
    return lambda: pytest.importorskip("timm", reason="the extra timm is not installed").create_model(name)


def spread_norms(model):
    """Norms that are not the identity, so that a swapped one shows."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.8, 1.2)
            torch.nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.2)
    return model.eval()


class Hostile:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("nested", [False, True])
def test_a_hostile_pickle_is_refused_and_runs_nothing(tmp_path, nested):
    trace, file = tmp_path / "trace", tmp_path / "weights.pth"
    payload = Hostile(f"touch {trace}")
    torch.save({"state_dict": {"fc.weight": torch.zeros(1)}, "extra": payload} if nested else payload, file)
    with pytest.raises(ValueError, match=r"weights\.pth is refused: .*asks for code to run"):
        read_weights(file)
    assert not trace.exists()
    torch.load(file, weights_only=False)
    assert trace.exists()  # the file is hostile indeed


def test_timm_runs_nothing_of_a_hostile_checkpoint(tmp_path):
    timm = pytest.importorskip("timm", reason="the extra timm is not installed")
    trace, file = tmp_path / "trace", tmp_path / "weights.pth"
    torch.save({"state_dict": Hostile(f"touch {trace}")}, file)
    with pytest.raises(Exception, match="weights_only"):
        timm.create_model("dr_resnet_digits", checkpoint_path=file)
    assert not trace.exists()


def test_checkpoints_of_torchvisions_and_timms_trainers_are_read(tmp_path):
    """Their options lie beside the weights, which several processes name after what wraps the network."""
    weights = {"module.a.weight": torch.ones(2), "module.b": torch.zeros(1)}
    torch.save({"model": weights, "args": argparse.Namespace(lr=0.1, model="resnet50")}, tmp_path / "checkpoint.pth")
    read = read_weights(tmp_path / "checkpoint.pth")
    assert {name: value.tolist() for name, value in read.items()} == {"a.weight": [1, 1], "b": [0]}
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "own.pth")
    assert set(read_weights(tmp_path / "own.pth")) == {"module.a", "b"}


@pytest.mark.parametrize(
    "average",
    [
        {"state_dict_ema": {"a": torch.full((1,), 2.0)}},
        {"model_ema": {"n_averaged": torch.tensor(5), "module.a": torch.full((1,), 2.0)}},
        {"model_ema": {"n_averaged": torch.tensor(5), "module._orig_mod.a": torch.full((1,), 2.0)}},
        {"model_ema": {"n_averaged": torch.tensor(5), "module.module.a": torch.full((1,), 2.0)}},
    ],
    ids=["timm", "torchvision", "compiled", "torchvision in several processes"],
)
def test_of_a_trainers_checkpoint_the_average_is_read_where_there_is_one(tmp_path, average):
    """It is what those trainers report the accuracy of, and what timm itself loads."""
    last = {"state_dict": {"a": torch.ones(1)}, "model": {"a": torch.ones(1)}}
    torch.save(last | average, tmp_path / "checkpoint.pth")
    assert {name: value.item() for name, value in read_weights(tmp_path / "checkpoint.pth").items()} == {"a": 2}
    torch.save(last | dict.fromkeys(average, None), tmp_path / "none.pth")
    assert read_weights(tmp_path / "none.pth")["a"].item() == 1


def test_a_file_that_holds_itself_is_refused(tmp_path):
    held: dict = {"epoch": 3}
    held["model"] = held
    torch.save(held, tmp_path / "circle.pth")
    with pytest.raises(ValueError, match="holds no weights"):
        read_weights(tmp_path / "circle.pth")


def test_older_files_are_read_and_others_named(tmp_path):
    weights = {"a": torch.ones(2)}
    torch.save(weights, tmp_path / "plain.pth")
    torch.save({"epoch": 3, "state_dict": weights}, tmp_path / "nested.pt")
    save_file(weights, tmp_path / "new.safetensors")
    for name in ("plain.pth", "nested.pt", "new.safetensors"):
        assert torch.equal(read_weights(tmp_path / name)["a"], weights["a"])
    (tmp_path / "cut.pth").write_bytes((tmp_path / "plain.pth").read_bytes()[:60])
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({1: torch.ones(2)}, tmp_path / "numbered.pth")
    for name, message in (
        ("cut.pth", "damaged"),
        ("empty.pth", "damaged"),
        ("list.pth", "no weights"),
        ("numbered.pth", "no weights"),
        ("plain.npy", "received"),
    ):
        (tmp_path / name).touch()
        with pytest.raises(ValueError, match=message):
            read_weights(tmp_path / name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_mutated_files_are_read_or_refused_by_name(tmp_path, kind):
    weights, whole = {"a": torch.ones(20), "b": torch.zeros(3, 4)}, tmp_path / "whole"
    if kind == "safetensors":
        save_file(weights, whole)
    else:
        torch.save(weights, whole, _use_new_zipfile_serialization=kind == "zip")
    file = tmp_path / ("cut.safetensors" if kind == "safetensors" else "cut.pth")
    draw, refused = random.Random(0), 0
    for turn in range(400):
        held = bytearray(whole.read_bytes())
        if turn % 2:
            del held[draw.randrange(len(held)) :]
        else:
            for _ in range(draw.choice((1, 3, 20))):
                held[draw.randrange(len(held))] = draw.randrange(256)
        file.write_bytes(held)
        try:
            assert read_weights(file)
        except ValueError as error:
            assert str(error).startswith(str(file))  # noqa: PT017 - most are refused, some are harmless
            refused += 1
    assert refused > 200


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("resnet50", lambda: torchvision.models.resnet50(weights=None)),
        ("resnet50", of_timm("resnet50")),
        ("resnet101", lambda: torchvision.models.resnet101(weights=None)),
        ("resnet101", of_timm("resnet101")),
        ("mobilenetv2", lambda: torchvision.models.mobilenet_v2(weights=None)),
        ("mobilenetv2", of_timm("mobilenetv2_100")),
    ],
    ids=["resnet50-tv", "resnet50-timm", "resnet101-tv", "resnet101-timm", "mobilenetv2-tv", "mobilenetv2-timm"],
)
def test_torchvision_and_timm_weights_give_their_answers(ours, theirs):
    source = spread_norms(theirs())
    options = {"stride_in_3x3": True} if ours.startswith("resnet") else {}
    model = load_foreign(create_model(ours, **options), source.state_dict()).eval()
    x = ramp((3, 64, 64))
    with torch.no_grad():
        expected = source(x)
        assert float((model(x) - expected).abs().max() / expected.abs().max()) < 1e-4


def test_an_older_file_of_torchvision_without_batch_counts_is_opened(tmp_path):
    source = spread_norms(torchvision.models.resnet50(weights=None))
    state = {name: value for name, value in source.state_dict().items() if "num_batches_tracked" not in name}
    torch.save(state, tmp_path / "resnet50.pth")
    model = load_foreign(create_model("resnet50", stride_in_3x3=True), tmp_path / "resnet50.pth").eval()
    x = ramp((3, 64, 64))
    with torch.no_grad():
        torch.testing.assert_close(model(x), source(x), rtol=1e-3, atol=1e-4)
    with pytest.raises(FileNotFoundError, match=r"missing\.pth"):
        load_foreign(model, str(tmp_path / "missing.pth"))


def test_foreign_weights_that_would_answer_wrongly_are_refused():
    with torch.device("meta"):
        resnet, mobilenet = torchvision.models.resnet50(), torchvision.models.mobilenet_v2()
    with pytest.raises(ValueError, match="stride_in_3x3=True"):
        load_foreign(create_model("resnet50"), resnet.state_dict())
    ours = create_model("mobilenetv2")
    with pytest.raises(ValueError, match="does not fit mobilenetv2"):
        load_foreign(ours, resnet.state_dict())
    with pytest.raises(ValueError, match="have no resnet20_cifar"):
        load_foreign(create_model("resnet20_cifar"), mobilenet.state_dict())
    for wrong in ([1, 2], None, {**mobilenet.state_dict(), "classifier.1.bias": 3}, {1: torch.ones(1)}):
        with pytest.raises(ValueError, match="names with tensors"):
            load_foreign(ours, wrong)


def test_a_state_may_have_the_names_of_what_wrapped_the_network():
    theirs = torchvision.models.mobilenet_v2().state_dict()
    ours = load_foreign(
        create_model("mobilenetv2"), {f"module._orig_mod.{name}": value for name, value in theirs.items()}
    )
    assert torch.equal(ours.state_dict()["fc.bias"], theirs["classifier.1.bias"])


def test_weights_of_static_networks_reach_recursive_ones_by_way_of_a_static_one():
    with pytest.raises(ValueError, match=r"dr_resnet35 received, whose blocks loop, .*load_static\(model, static\)"):
        load_foreign(create_model("dr_resnet35", stride_in_3x3=True), torchvision.models.resnet50().state_dict())
