"""What `from_pretrained` is given decides whether the hub is asked."""

from pathlib import Path

import huggingface_hub
import pytest

from drnn import create_model, from_pretrained, save_pretrained


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_is_refused_with_its_folder_named_and_the_hub_is_not_asked(name, kind, tmp_path, monkeypatch):
    def asked(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", asked)
    save_pretrained(create_model("dr_resnet_digits"), tmp_path / "ck")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"^ck/{name} is a file; give its folder, 'ck'$"):
        from_pretrained(kind(f"ck/{name}"))
    monkeypatch.chdir("ck")
    with pytest.raises(ValueError, match=rf"^{name} is a file; give its folder, '\.'$"):
        from_pretrained(kind(name))
