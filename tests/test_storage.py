"""Where a file can be written is known before the work for it."""

import os

import pytest

from drnn.storage import refuse_place, write_text


def test_a_place_that_can_be_written_is_left_as_it_is(tmp_path):
    file = tmp_path / "new" / "folder" / "file.json"
    refuse_place(file)
    assert list(tmp_path.iterdir()) == []
    write_text(file, "1")
    refuse_place(file)  # written again


def test_a_place_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(IsADirectoryError, match=r"is a folder; name a file in it"):
        refuse_place(tmp_path)
    for place in ("file/x.json", "file/sub/x.json"):
        with pytest.raises(NotADirectoryError, match=r"x\.json cannot be written, as .*file is no folder"):
            refuse_place(tmp_path / place)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="is closed to you"):
        refuse_place(tmp_path / "sub" / "x.json")
