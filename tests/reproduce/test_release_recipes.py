"""What a release says of how its run was made."""

from dataclasses import replace

from drnn.cli.main import main
from drnn.reproduce.release import release
from drnn.training import find_recipe, train
from drnn.training.run_folder import read_recipe
from drnn.weights.files import fingerprint


def test_initial_weights_are_named_by_what_they_are_and_not_by_their_place(tmp_path):
    short = replace(find_recipe("digits"), epochs=1, warmup_epochs=0, train_images=300, threads=1, device="cpu")
    first, second = tmp_path / "deep" / "first", tmp_path / "second"
    train(short, first, progress=False)
    train(replace(short, initial_weights=str(first)), second, progress=False)
    card = release(second, tmp_path / "net")
    assert f"from weights of SHA-256 {fingerprint(first)}" in card.recipe
    assert read_recipe(tmp_path / "net").initial_weights is None
    assert not [file.name for file in (tmp_path / "net").iterdir() if b"deep" in file.read_bytes()]


def test_held_out_images_are_not_called_test_images(tmp_path, capsys):
    run, released = str(tmp_path / "run"), str(tmp_path / "release")
    few = ["--epochs", "1", "--batch_size", "128", "--threads", "1", "--device", "cpu", "--quiet"]
    assert main(["train", "digits", "--out", run, *few, "--held_out", "300"]) == 0
    assert main(["eval", run]) == 0
    assert main(["release", run, released]) == 0
    assert main(["eval", released]) == 0
    said = capsys.readouterr().out
    assert said.count("300 held-out training images") == 4
    assert "test images" not in said
    card = (tmp_path / "release/README.md").read_text()
    assert "digits, 300 held-out training images" in card
    assert "test images" not in card
