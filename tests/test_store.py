"""Files of results are whole or absent; folders belong to one configuration."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr

from sde_momentum import InputError
from sde_momentum.core.files import remove_parts, write_whole
from validation.store import CONFIGURATION, Folder, configuration_of, read, write

ARRAYS = {"values": np.arange(6.0).reshape(2, 3), "diverged": np.array([-1, 4])}
SHAPES = {name: array.shape for name, array in ARRAYS.items()}
DATA = {"rows": [0.1, None, float("inf")], "name": "a"}
TABLE = xr.Dataset({"time": ("lr", np.arange(2000.0)), "few": ("lr2", [1.5, np.nan])}, attrs={"configuration": "{}"})
VALUES = {"a.npz": ARRAYS, "a.json": DATA, "list.json": [1.0, 2.0], "a.nc": TABLE}
MINE, OTHER = '{"file": "a", "lr": 0.1}', '{"file": "b", "lr": 0.1}'


def same(found, value):
    if isinstance(value, xr.Dataset):
        return found.identical(value)
    if isinstance(value, dict) and "values" in value:
        return set(found) == set(value) and all(np.array_equal(found[name], value[name]) for name in value)
    return found == value


@pytest.mark.parametrize("name", VALUES)
def test_every_kind_of_file_comes_back_as_written_and_in_its_own_place_alone(name, tmp_path):
    write(tmp_path / name, VALUES[name], MINE)
    assert same(read(tmp_path / name, MINE), VALUES[name])
    assert same(read(tmp_path / name), VALUES[name])
    with pytest.raises(InputError, match=rf"--out: given .*{name}; allowed: the file of the runs that its name says"):
        read(tmp_path / name, OTHER)


@pytest.mark.parametrize("name", VALUES)
def test_a_flipped_bit_is_refused_by_name_or_harmless(name, tmp_path):
    write(tmp_path / name, VALUES[name], MINE)
    whole, refused, rng = (tmp_path / name).read_bytes(), 0, np.random.default_rng(1)
    for bit in rng.choice(8 * len(whole), 150, replace=False):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        (tmp_path / name).write_bytes(content)
        try:
            assert same(read(tmp_path / name, MINE), VALUES[name])
        except InputError as error:
            refused += f"{name}" in str(error)
    assert refused > 50


def test_a_results_file_without_checksum_is_one_of_an_earlier_version(tmp_path):
    TABLE.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    assert read(tmp_path / "a.nc").identical(TABLE)
    with pytest.raises(InputError, match="allowed: the file of the runs"):
        read(tmp_path / "a.nc", MINE)
    write(tmp_path / "a.nc", TABLE, MINE)
    assert xr.load_dataset(tmp_path / "a.nc", engine="h5netcdf").identical(TABLE)  # others read ours


@pytest.mark.parametrize("damage", ["cut", "empty", "missing", "other shape"])
@pytest.mark.parametrize("name", VALUES)
def test_a_broken_file_is_named_and_never_read(tmp_path, name, damage):
    file = tmp_path / name
    write(file, VALUES[name], MINE)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "missing":
        file.unlink()
    elif name != "a.npz":
        return
    shapes = SHAPES | ({"values": (3, 3)} if damage == "other shape" else {})
    with pytest.raises(InputError, match=rf"--out: given .*{name}; allowed: an intact file of this sweep"):
        read(file, MINE, shapes)


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "a"
    write_whole(file, lambda f: f.write(b"old"))

    def dies(f):
        f.write(b"ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(file, dies)
    assert file.read_bytes() == b"old"


def test_parts_of_dead_writers_are_removed_and_no_others(tmp_path):
    (tmp_path / "a.0123.part").write_bytes(b"left by a killed process")
    (tmp_path / "b.0123.part").write_bytes(b"of another file")

    def write_one(file):
        (part,) = set(tmp_path.glob("a.*.part")) - {tmp_path / "a.0123.part"}
        remove_parts(tmp_path / "a")
        assert part.exists()
        file.write(b"new")

    write_whole(tmp_path / "a", write_one)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b.0123.part"]
    assert (tmp_path / "a").read_bytes() == b"new"


def test_an_error_of_the_disk_names_the_file(tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/a'$"):
        write_whole(tmp_path / "a", lambda file: file.write(b"new"))
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: '.*/gone/a'$"):
        write_whole(tmp_path / "gone" / "a", lambda file: file.write(b"new"))
    assert not list(tmp_path.iterdir())


def test_a_pipe_is_not_replaced_by_a_file_and_a_link_stays_one(tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    for path, error in ((pipe, errno.EINVAL), (tmp_path, errno.EISDIR)):
        with pytest.raises(OSError, match="not a file, and not replaced by one") as caught:
            write_whole(path, lambda file: file.write(b"new"))
        assert caught.value.errno == error
    assert pipe.is_fifo()
    link.symlink_to(tmp_path / "a")
    write_whole(link, lambda file: file.write(b"new"))
    assert link.is_symlink()
    assert (tmp_path / "a").read_bytes() == b"new"


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


def test_a_flipped_bit_of_the_configuration_makes_no_other(tmp_path):
    mine = {"experiment": "a", "lr": [0.1, 0.2], "seed": 0}
    Folder.open(tmp_path, mine, resume=False).begin()
    whole = (tmp_path / CONFIGURATION).read_bytes()
    found = []
    for bit in range(0, 8 * len(whole), 5):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / CONFIGURATION).write_bytes(flipped)
        found.append(configuration_of(tmp_path))
    assert all(configuration in (None, mine) for configuration in found)
    assert found.count(None) > len(found) / 2


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


@pytest.mark.parametrize("content", ["{", "null", "[1]", '"{"', "[" * 100_000, "\xff"])
def test_a_damaged_configuration_is_told_by_whole_results(content, tmp_path):
    """Alone it counts as none; beside other files it is refused in one line."""
    path, mine = tmp_path / "out", {"lr": [0.1], "seed": 0}
    for _ in range(2):
        Folder.open(path, mine, resume=False).begin()
        assert read(path / CONFIGURATION) == mine
        (path / CONFIGURATION).write_text(content, encoding="latin1")
    (path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"^--out: given .*, which holds other files; allowed: a new or empty folder$"):
        Folder.open(path, mine, resume=True)
    (path / "runs").mkdir()
    write(path / "runs" / "a.npz", ARRAYS, json.dumps({"file": "a", "configuration": mine}))
    for lost in (False, True):
        if lost:
            (path / CONFIGURATION).unlink()
        with pytest.raises(InputError, match=r"a folder with seed = 0; allowed: a folder with seed = 1"):
            Folder.open(path, mine | {"seed": 1}, resume=True)
        Folder.open(path, mine, resume=True).begin()
        assert read(path / CONFIGURATION) == mine


HOLDER = """
import sys, time
from pathlib import Path
from validation.store import Folder
with Folder(Path(sys.argv[1]), {"seed": 0}).locked():
    print("locked", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
def test_two_runs_into_one_folder_are_refused_until_the_first_ends_however_it_ends(tmp_path):
    path = tmp_path / "out"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "locked\n"
    (path / "x.part").write_bytes(b"of the other run")
    refused = rf"--out: given a folder in use by process {holder.pid} on .* since 2.*; allowed: another folder, or wait until"
    with pytest.raises(InputError, match=refused), Folder(path, {"seed": 0}).locked():
        pass
    assert (path / "x.part").exists()
    holder.kill()
    holder.wait()
    with pytest.raises(InputError, match="a folder with seed = 0"), Folder(path, {"seed": 1}).locked():  # checked again
        pass
    with Folder(path, {"seed": 0}).locked():
        assert not (path / "x.part").exists()
    assert [file.name for file in path.iterdir()] == [CONFIGURATION]


def test_many_threads_write_one_file_and_one_of_them_stays(tmp_path):
    def write_one(i):
        write_whole(tmp_path / "a", lambda file: [file.write(bytes([i]) * 1000) for _ in range(10)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write_one, range(64)))
    (file,) = tmp_path.iterdir()
    assert len(file.read_bytes()) == 10_000
    assert len(set(file.read_bytes())) == 1
