"""An image folder trained on and evaluated from the command line, as ImageNet would be."""

import json
from dataclasses import replace

from drnn.cli.main import main
from drnn.training import find_recipe, train
from drnn.training.session import Session


def test_the_whole_imagenet_path(folder, tmp_path, monkeypatch, capsys):
    """An ImageNet recipe on an image folder, stopped in mid-epoch, goes on to the same bits and evaluates again."""
    options = ["--data_root", str(folder), "--image_size", "32", "--batch_size", "12", "--epochs", "2", "--workers",
               "0", "--threads", "1", "--quiet", "--model", "dr_resnet16_cifar", "--milestones", "[1]"]  # fmt: skip
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
        find_recipe("imagenet-dr35"), data_root=str(folder), image_size=32, batch_size=30, epochs=1, milestones=(),
        workers=2, threads=1, held_out=20,
    )  # fmt: skip
    summary = train(recipe, tmp_path / "run", progress=False)
    assert summary["images"] == 20
    assert summary["max_loops"] == 10
