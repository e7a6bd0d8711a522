"""Files of results are whole or absent; folders belong to one configuration."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sde_momentum import InputError
from sde_momentum.core.files import write_whole
from validation.store import CONFIGURATION, Folder, read_arrays, read_json, write_arrays

ARRAYS = {"values": np.arange(6.0).reshape(2, 3), "diverged": np.array([-1, 4])}
SHAPES = {name: array.shape for name, array in ARRAYS.items()}


def test_arrays_come_back_as_written(tmp_path):
    write_arrays(tmp_path / "a.npz", **ARRAYS)
    for name, array in read_arrays(tmp_path / "a.npz", SHAPES).items():
        np.testing.assert_array_equal(array, ARRAYS[name])


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "missing", "other shape"])
def test_a_broken_file_is_named_and_never_read(tmp_path, damage):
    file = tmp_path / "a.npz"
    write_arrays(file, **ARRAYS)
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[200] ^= 255  # within the numbers: the checksum notices
        file.write_bytes(content)
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "missing":
        file.unlink()
    shapes = SHAPES | ({"values": (3, 3)} if damage == "other shape" else {})
    with pytest.raises(InputError, match=r"--out: given .*a\.npz; allowed: an intact file of this sweep"):
        read_arrays(file, shapes)


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "a"
    write_whole(file, lambda f: f.write(b"old"))

    def dies(f):
        f.write(b"ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(file, dies)
    assert file.read_bytes() == b"old"


def test_a_folder_is_taken_up_by_its_own_configuration_only(tmp_path):
    path = tmp_path / "out"
    Folder.open(path, {"lr": [0.1], "seed": 0}, resume=False).begin()
    (path / "x.part").write_bytes(b"left by a killed process")
    Folder.open(path, {"lr": [0.1], "seed": 0}, resume=True).begin()
    assert not (path / "x.part").exists()
    with pytest.raises(InputError, match=r"--out: given .*which holds results; allowed: a new or empty folder, or --resume"):
        Folder.open(path, {"lr": [0.1], "seed": 0}, resume=False)
    with pytest.raises(InputError, match=r"--out: given .*a folder with seed = 0; allowed: a folder with seed = 1, or a new one"):
        Folder.open(path, {"lr": [0.1], "seed": 1}, resume=True)
    assert json.loads((path / CONFIGURATION).read_text())["seed"] == 0


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="which holds other files; allowed: a new or empty folder"):
        Folder.open(tmp_path, {}, resume=True)
    with pytest.raises(InputError, match=r"thesis\.tex; allowed: a folder"):
        Folder.open(tmp_path / "thesis.tex", {}, resume=True)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_folder_whose_first_file_was_not_finished_counts_as_new(tmp_path):
    (tmp_path / f"{CONFIGURATION}.123.part").write_bytes(b"{")
    Folder.open(tmp_path, {"seed": 1}, resume=False).begin()
    assert [file.name for file in tmp_path.iterdir()] == [CONFIGURATION]


def test_unreadable_json_is_named(tmp_path):
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(InputError, match=r"--out: given .*c\.json; allowed: a readable file"):
        read_json(tmp_path / "c.json")
