"""Real images: every form in which they are handed out is read and checked, and nothing in a file is executed."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import pickle
import struct
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sde_momentum import InputError
from validation.data import ImageSet, archive, cache, cifar, default_images, idx, image_tar, load_images, restricted_pickle
from validation.data.checks import BrokenFileError
from validation.data.image_set import balanced_order

FASHION, CIFAR = "fashion-mnist", "cifar-10"


@pytest.fixture(autouse=True)
def _no_traces(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SDE_MOMENTUM_DATA", raising=False)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "data"
    path.mkdir()
    return path


def drawn(n_train, n_test, shape, seed=0):
    """Images of ten classes in turn, with random pixels."""
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (n, *shape), dtype=np.uint8) for n in (n_train, n_test)]
    return images[0], np.arange(n_train) % 10, images[1], np.arange(n_test) % 10


def same(found, expected):
    for array, value in zip(
        (found.train_images, found.train_labels, found.test_images, found.test_labels), expected, strict=True
    ):
        np.testing.assert_array_equal(array, value)
    assert found.train_images.dtype == np.uint8
    assert found.train_labels.dtype == np.int64


# --- the files, written by hand from the descriptions of the formats


def idx_bytes(array, magic=None):
    return struct.pack(f">{array.ndim + 1}I", magic or 0x0800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_fashion(folder, data, compress=gzip.compress, suffix=".gz"):
    folder.mkdir(exist_ok=True, parents=True)
    names = [names[0].removesuffix(".gz") for names in idx.FILES]
    for name, array in zip(names, data, strict=True):
        (folder / (name + suffix)).write_bytes(compress(idx_bytes(array[..., 0] if array.ndim == 4 else array)))


def python2_pickle(data, labels):
    """As Python 2 and numpy of 2009 wrote it: every string is a string of bytes."""

    def text(value):
        return (b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<I", len(value))) + value

    def number(value):
        return b"J" + struct.pack("<i", value)

    dtype = (
        b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN" + number(-1) + number(-1) + b"K\x00tb"
    )
    shape = number(data.shape[0]) + number(data.shape[1]) + b"\x86"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01" + shape + dtype + b"\x89" + text(data.tobytes()) + b"tb"
    listed = b"](" + b"".join(number(int(label)) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + text(b"batch_label") + text(b"batch") + b"u."


def python3_pickle(protocol):
    return lambda data, labels: pickle.dumps({"data": data, "labels": labels.tolist()}, protocol=protocol)


def binary(data, labels):
    return np.concatenate([labels.astype(np.uint8)[:, None], data], axis=1).tobytes()


def batches(data, encode):
    """Contents of the five training batches and of the test batch."""
    images, labels, test_images, test_labels = data
    rows = [x.transpose(0, 3, 1, 2).reshape(len(x), -1) for x in (images, test_images)]
    parts = list(zip(np.array_split(rows[0], 5), np.array_split(labels, 5), strict=True))
    return [encode(np.ascontiguousarray(x), y) for x, y in [*parts, (rows[1], test_labels)]]


def write_tar(path, members, compress=gzip.compress):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(compress(out.getvalue()))


def encoded(pixels, kind="PNG"):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def write_image_tars(folder, data, kind="PNG", ending=".xz", compress=lzma.compress):
    for part, images, labels in (("train", *data[:2]), ("test", *data[2:])):
        members = [
            (f"{part}/{cifar.CLASSES[label]}/{i:04}.{'jpg' if kind == 'JPEG' else 'png'}", encoded(image, kind))
            for i, (image, label) in enumerate(zip(images, labels, strict=True))
        ]
        write_tar(
            folder / f"{part}.tar{ending}",
            [(f"{part}/README", b"no image"), (f"{part}/cat/._0.png", b"junk"), *members],
            compress,
        )


def by_class(data):
    """As an image tar gives them: class by class."""
    order, test_order = (np.argsort(labels, kind="stable") for labels in (data[1], data[3]))
    return data[0][order], data[1][order], data[2][test_order], data[3][test_order]


# --- every form is read


@pytest.mark.parametrize("place", ["", "fashion_mnist", "FashionMNIST/raw"])
@pytest.mark.parametrize(("compress", "suffix"), [(gzip.compress, ".gz"), (bytes, "")])
def test_fashion_mnist_is_read_wherever_it_lies(folder, place, compress, suffix):
    data = drawn(30, 10, (28, 28, 1))
    write_fashion(folder / place, data, compress, suffix)
    found = load_images(FASHION, folder)
    same(found, data)
    assert found.source == "FashionMNIST (IDX, incomplete)"
    assert found.classes[9] == "Ankle boot"
    assert repr(found) == "FashionMNIST (IDX, incomplete): 30 training and 10 test images, 28 x 28 x 1, 10 classes"


def test_other_sets_with_the_same_file_names_are_told_apart_by_their_folder(folder):
    write_fashion(folder / "AMNIST" / "raw", drawn(10, 10, (28, 28, 1), seed=1))
    write_fashion(folder / "FashionMNIST" / "raw", data := drawn(30, 10, (28, 28, 1)))
    same(load_images(FASHION, folder), data)
    write_fashion(folder / "fashion2" / "raw", data)
    with pytest.raises(InputError, match="more than one in ") as error:
        load_images(FASHION, folder)
    assert str(error.value.given).endswith(": FashionMNIST/raw, fashion2/raw")  # the message cuts long paths short


@pytest.mark.parametrize("encode", [python2_pickle, *(python3_pickle(protocol) for protocol in (2, 4))])
def test_python_batches_are_read_from_folder_and_tar(folder, encode):
    data = drawn(50, 20, (32, 32, 3))
    contents = batches(data, encode)
    inside = folder / "cifar-10-batches-py"
    inside.mkdir()
    for name, content in zip(cifar.PYTHON_FILES, contents, strict=True):
        (inside / name).write_bytes(content)
    for where in (folder, inside):
        found = load_images(CIFAR, where)
        same(found, data)
        assert found.source == "CIFAR-10 (python batches, incomplete)"
    for file in inside.iterdir():
        file.unlink()
    members = zip(
        ("../../" + name for name in cifar.PYTHON_FILES), contents, strict=True
    )  # a path out of the folder leads nowhere
    write_tar(folder / cifar.PYTHON_ARCHIVE, members)
    same(load_images(CIFAR, folder), data)
    assert {file.name for file in folder.parent.rglob("*batch*")} == {"cifar-10-batches-py"}


def test_binary_batches_are_read_from_folder_and_tar(folder):
    data = drawn(50, 20, (32, 32, 3))
    contents = batches(data, binary)
    write_tar(
        folder / cifar.BINARY_ARCHIVE,
        [(f"cifar-10-batches-bin/{n}", x) for n, x in zip(cifar.BINARY_FILES, contents, strict=True)],
    )
    found = load_images(CIFAR, folder)
    same(found, data)
    assert found.source == "CIFAR-10 (binary batches, incomplete)"
    (folder / cifar.BINARY_ARCHIVE).unlink()
    for name, content in zip(cifar.BINARY_FILES, contents, strict=True):
        (folder / name).write_bytes(content)
    assert load_images(CIFAR, folder).checksum == found.checksum


@pytest.mark.parametrize(
    ("ending", "compress"), [(".xz", lzma.compress), (".gz", gzip.compress), (".bz2", bz2.compress), ("", bytes)]
)
def test_image_tars_are_read(folder, ending, compress):
    data = drawn(30, 10, (32, 32, 3))
    write_image_tars(folder / "cifar10", data, ending=ending, compress=compress)
    found = load_images(CIFAR, folder)
    same(found, by_class(data))
    assert found.source == "CIFAR-10 (PNG copy, incomplete)"


def test_a_lossy_copy_is_called_one_and_the_originals_go_before_it(folder):
    data = drawn(30, 10, (32, 32, 3))
    flat = tuple(np.full_like(x, 7 * i) if x.ndim == 4 else x for i, x in enumerate(data))
    write_image_tars(folder / "cifar10", flat, "JPEG")
    found = load_images(CIFAR, folder)
    same(found, by_class(flat))  # JPEG keeps a grey area as it is
    assert found.source == "CIFAR-10 (JPEG copy, incomplete)"
    for name, content in zip(cifar.BINARY_FILES, batches(data, binary), strict=True):
        (folder / name).write_bytes(content)
    assert load_images(CIFAR, folder).source == "CIFAR-10 (binary batches, incomplete)"


def test_published_checksums_and_full_sizes_are_noted(folder, monkeypatch):
    from validation.data import load

    write_fashion(folder, drawn(30, 10, (28, 28, 1)))
    monkeypatch.setattr(idx, "MD5", {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in folder.iterdir()})
    assert load_images(FASHION, folder).source == "FashionMNIST (IDX, original, incomplete)"
    monkeypatch.setitem(load._SETS, FASHION, replace(load._SETS[FASHION], n_images=(30, 10)))
    assert load_images(FASHION, folder).source == "FashionMNIST (IDX, original)"


# --- what is wrong is said in one line, with where to get it


def refused(name, folder, match):
    with pytest.raises(InputError, match=match) as error:
        load_images(name, folder)
    assert "\n" not in str(error.value)
    assert {FASHION: "github.com/zalandoresearch/fashion-mnist", CIFAR: "www.cs.toronto.edu/~kriz/cifar.html"}[name] in str(
        error.value
    )
    assert str(error.value).startswith("--data: given ")


def test_nothing_given_nothing_there_and_half_of_it(folder, tmp_path):
    refused(FASHION, None, "given nothing, and no SDE_MOMENTUM_DATA; allowed: .*train-images-idx3-ubyte.gz")
    refused(CIFAR, folder, "given nothing of it in .*; allowed: .*cifar-10-python.tar.gz or cifar-10-batches-py or")
    with pytest.raises(InputError, match="allowed: a folder"):
        load_images(FASHION, tmp_path / "absent")
    with pytest.raises(InputError, match="images: given mnist; allowed: fashion-mnist, cifar-10, digits"):
        load_images("mnist", folder)
    write_fashion(folder, drawn(10, 10, (28, 28, 1)))
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    refused(FASHION, folder, "given no t10k-labels-idx1-ubyte.gz in ")


def _cut(content):
    return content[: len(content) // 2]


DAMAGES = {
    "cut": ("train-images", _cut, "damaged"),
    "empty": ("train-images", lambda content: b"", "ends within its header"),
    "flipped": ("train-images", lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:], "damaged"),
    "labels for images": (
        "train-images",
        lambda content: gzip.compress(idx_bytes(np.zeros(30))),
        "0x00000801 instead of 0x00000803",
    ),
    "little end first": (
        "train-images",
        lambda content: gzip.compress(idx_bytes(np.zeros((3, 28, 28)), 0x03080000)),
        "0x03080000",
    ),
    "short": ("train-images", lambda content: gzip.compress(gzip.decompress(content)[:-1]), "fewer than the 23,520 bytes"),
    "long": ("train-images", lambda content: gzip.compress(gzip.decompress(content) + b"x"), "more than the 23,520 bytes"),
    "vast": ("train-images", lambda content: struct.pack(">4I", 0x803, 2**31, 2**31, 28), "a header of 2147483648 x"),
    "other size": (
        "train-images",
        lambda content: gzip.compress(idx_bytes(np.zeros((30, 14, 14)))),
        "14 x 14 pixels instead of 28",
    ),
    "label 10": ("train-labels", lambda content: gzip.compress(idx_bytes(np.full(30, 10))), "not whole numbers from 0 to 9"),
    "fewer labels": ("train-labels", lambda content: gzip.compress(idx_bytes(np.arange(20) % 10)), "20 labels for 30 images"),
    "unbalanced": (
        "train-labels",
        lambda content: gzip.compress(idx_bytes(np.arange(30) % 9)),
        "0 of Ankle boot but 4 of T-shirt",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_idx_file_is_named(folder, damage):
    name, change, match = DAMAGES[damage]
    write_fashion(folder, drawn(30, 10, (28, 28, 1)))
    file = next(folder.glob(f"{name}*"))
    file.write_bytes(change(file.read_bytes()))
    refused(FASHION, folder, match)


def test_broken_batches_are_named(folder):
    contents = batches(drawn(50, 20, (32, 32, 3)), binary)
    for change, match in (
        (lambda x: x[:-1], "data_batch_3.bin: 30,729 bytes, no multiple of 3073"),
        (_cut, "4 of dog but 5 of airplane"),  # between two records
        (lambda x: b"\x0a" + x[1:], "data_batch_3.bin: labels"),
    ):
        for name, content in zip(cifar.BINARY_FILES, contents, strict=True):
            (folder / name).write_bytes(change(content) if name == "data_batch_3.bin" else content)
        refused(CIFAR, folder, match)
    data = np.zeros((2, 3072), np.uint8)
    for batch, match in (
        ([], "no dictionary"),
        ({"data": data}, "no `labels`"),
        ({"data": data, "labels": ["0", "1"]}, "no `labels`"),
        ({"data": data, "labels": [0, 2**70]}, "not whole numbers"),
        ({"data": data, "labels": [0, -1]}, "not whole numbers"),
        ({"data": data, "labels": [0]}, "1 labels for 2 images"),
        ({"data": data.astype(float), "labels": [0, 1]}, "no `data` of n x 3072 bytes"),
        ({"data": data[:, 1:], "labels": [0, 1]}, "no `data` of n x 3072 bytes"),
    ):
        with pytest.raises(BrokenFileError, match=match):
            cifar.python_batch(pickle.dumps(batch, protocol=2), Path("data_batch_1"))


def test_a_broken_tar_is_named(folder):
    file = folder / cifar.BINARY_ARCHIVE
    contents = batches(drawn(50, 20, (32, 32, 3)), binary)
    members = list(zip(cifar.BINARY_FILES, contents, strict=True))
    write_tar(file, members[1:])
    refused(CIFAR, folder, r"cifar-10-binary.tar.gz: no data_batch_1.bin in it")
    write_tar(file, [*members, members[0]])
    refused(CIFAR, folder, "data_batch_1.bin in it twice")
    write_tar(file, members)
    whole = file.read_bytes()
    for content in (_cut(whole), whole[:-8] + b"\0\0\0\0" + whole[-4:], b"no tar at all" * 100, b""):
        file.write_bytes(content)
        refused(CIFAR, folder, r"cifar-10-binary.tar.gz: (damaged|no data_batch_1)")


def test_images_that_do_not_belong_are_refused(folder):
    data = drawn(10, 10, (32, 32, 3))
    good = encoded(data[0][0])
    other = encoded(np.zeros((16, 32, 3), np.uint8))
    for members, match in (
        ([("train/cat/1.png", good), ("train/dog/2.png", _cut(good))], "train/dog/2.png is no readable image"),
        ([("train/cat/1.png", other)], "32 x 16 pixels instead of 32 x 32"),
        ([("train/cow/1.png", good)], "train/cow/1.png is in no folder of a class"),
        ([("1.png", good)], "1.png is in no folder of a class"),
        ([("test/cat/1.png", good)], "test/cat/1.png is no train image"),
        ([("cat/1.png", good), ("./cat/1.png", good)], "in it twice"),
        ([("cat/1.gif", good)], "no images in it"),
        ([("cat/1.png", b"\0" * (2**20 + 1))], "1,048,577 bytes, more than it can have"),
        ([("junk", b"\0" * (2**20 + 1))], "1,048,577 bytes, more than it can have"),
        ([("cat/1.png", good)], "0 of airplane but 1 of cat"),
    ):
        write_image_tars(folder, data)
        write_tar(folder / "train.tar.xz", members, lzma.compress)
        refused(CIFAR, folder, match)


def test_a_tar_that_unpacks_without_end_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_TOTAL", 10**6)
    write_tar(tmp_path / "a.tar.gz", [(f"{i}", b"\0" * 10**5) for i in range(20)])
    with pytest.raises(BrokenFileError, match="unpacks to more than 1,000,000 bytes"):
        list(archive.members(tmp_path / "a.tar.gz", lambda name: True, 10**6))


def header(kind, size, name="x"):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "content",
    [
        header(tarfile.XHDTYPE, 2**20) + b"1" * 2**20,  # one header of digits
        (header(tarfile.XHDTYPE, 2**12) + b"1" * 2**12 + header(tarfile.REGTYPE, 0)) * 200,
        (header(tarfile.XHDTYPE, 512) + b"1" * 512) * 3000,  # one after another
        header(tarfile.XHDTYPE, 512)
        + b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n22 GNU.sparse.name=ab\n".ljust(512, b"\0")
        + header(tarfile.REGTYPE, 2**20)
        + b"1" * 2**20,
        header(tarfile.GNUTYPE_LONGNAME, 2**20) + b"a" * 2**20,
    ],
)
def test_headers_that_a_tar_is_long_to_read_are_refused(content, tmp_path):
    """Within seconds: Python's reader takes minutes to for ever."""
    (tmp_path / "a.tar").write_bytes(content + b"\0" * 1024)
    with pytest.raises(BrokenFileError, match=r"a.tar: damaged, ") as error:
        list(archive.members(tmp_path / "a.tar", lambda name: True, 10**6))
    assert "\n" not in str(error.value)


def test_a_tar_of_many_members_costs_little_memory(tmp_path):
    with lzma.open(tmp_path / "a.tar.xz", "wb", preset=0) as file:
        file.write(header(tarfile.REGTYPE, 0) * 3000)
    tracemalloc.start()
    assert sum(1 for _ in archive.members(tmp_path / "a.tar.xz", lambda name: True, 10**6)) == 3000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**19


def test_control_characters_of_a_name_do_not_reach_the_terminal(folder):
    write_image_tars(folder, drawn(10, 10, (32, 32, 3)))
    write_tar(folder / "train.tar.xz", [("\x1b[2J\x07/1.png", b"")], lzma.compress)
    refused(CIFAR, folder, r"^[^\x00-\x1f]*\\x1b\[2J\\x07/1.png is in no folder of a class[^\x00-\x1f]*$")


# --- pickles


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("what", ["system", "eval", "getattr", "codec", "object array", "strings", "record", "object dtype"])
def test_nothing_in_a_pickle_is_executed(tmp_path, what, protocol):
    mark = tmp_path / "executed"
    values = {
        "system": Calls(os.system, f"touch {mark}"),
        "eval": Calls(eval, f"open({str(mark)!r}, 'w')"),
        "getattr": Calls(getattr, "text", "upper"),
        "codec": Calls(__import__("_codecs").encode, "x", "rot13"),
        "object array": np.array([Calls(os.system, f"touch {mark}")], dtype=object),
        "strings": np.array(["text"]),
        "record": np.zeros(2, dtype=[("a", "u1"), ("b", "f4")]),
        "object dtype": np.dtype("O"),
    }
    content = pickle.dumps({"data": values[what]}, protocol=protocol)
    with pytest.raises(BrokenFileError, match=r"batch: (a pickle that asks for \S+, which is refused|no such pickle)"):
        restricted_pickle.load(content, tmp_path / "batch")
    assert not mark.exists()


def test_the_forbidden_name_is_told(tmp_path):
    content = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."
    with pytest.raises(BrokenFileError, match=r"a pickle that asks for posix.system, which is refused \(in .*"):
        restricted_pickle.load(content, tmp_path / "batch")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02}",
        b"cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.",  # numpy.ndarray called
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nJ\xff\xff\xff\x7f\x85U\x01b\x87R.",  # a vast array
        b"cnumpy\ndtype\n}X\x04\x00\x00\x00evilK\x01sb.",  # an attribute for what is shared
        b"cnumpy\ndtype\nN}X\x08\x00\x00\x00__call__K\x01s\x86b.",
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|U\x01ONNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb.",  # another dtype
    ],
)
def test_pickles_that_abuse_what_is_allowed_are_refused(content):
    with pytest.raises(BrokenFileError):
        restricted_pickle.load(content, Path("batch"))


@pytest.mark.parametrize(
    "content",
    [
        b"]r\xff\xff\xff\x7f.",  # the 2,147,483,647th place of memory
        b"]p2147483647\n.",
        b"\x80\x05\x96\xff\xff\xff\xff\x03\x00\x00\x00.",  # a bytearray
        b"}K\x01" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60)) + b"K\x01s.",  # a key of 2^60 parts
        b"}(K\x01" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60)) + b"K\x01u.",
    ],
)
def test_a_small_pickle_costs_little(content):
    tracemalloc.start()
    with pytest.raises(BrokenFileError):
        cifar.python_batch(content, Path("batch"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("dtype", ["u1", "<i8", ">f4", "?", "f2"])
@pytest.mark.parametrize("protocol", range(5))
def test_arrays_of_numbers_and_plain_containers_pass(dtype, protocol):
    array = np.asfortranarray(np.arange(6).reshape(2, 3).astype(dtype))
    value = restricted_pickle.load(pickle.dumps([("a", b"b\xff", 1.5, None, True), array], protocol), Path("batch"))
    assert value[0] == ("a", b"b\xff", 1.5, None, True)
    np.testing.assert_array_equal(np.asarray(value[1]), array)
    assert value[1].dtype == array.dtype.newbyteorder("=")  # numpy itself turns the bytes round


# --- the cache


def test_decoded_images_are_kept_until_their_source_changes(folder, monkeypatch):
    data = drawn(20, 10, (32, 32, 3))
    write_image_tars(folder, data)
    same(load_images(CIFAR, folder), by_class(data))
    (kept,) = cache.directory().iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(image_tar, "_decode", lambda *args: pytest.fail("decoded again"))
        found = load_images(CIFAR, folder)
        same(found, by_class(data))
        assert found.source == "CIFAR-10 (PNG copy, incomplete)"
    whole = kept.read_bytes()
    for content in (_cut(whole), b"", whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:]):
        kept.write_bytes(content)
        same(load_images(CIFAR, folder), by_class(data))
        assert kept.stat().st_size == len(whole)  # written again
    write_image_tars(folder, other := drawn(30, 10, (32, 32, 3), seed=1))
    same(load_images(CIFAR, folder), by_class(other))
    assert list(cache.directory().iterdir()) == [kept]


def test_a_cache_that_cannot_be_written_is_done_without(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way of a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    data = drawn(10, 10, (32, 32, 3))
    write_image_tars(folder, data)
    same(load_images(CIFAR, folder), by_class(data))


# --- which images are used


def test_digits_stand_in_only_where_no_folder_is_given(folder, monkeypatch):
    assert default_images(CIFAR).source == "digits (scikit-learn)"
    refused(FASHION, folder, "nothing of it")
    with pytest.raises(InputError, match="nothing of it"):
        default_images(FASHION, folder)
    monkeypatch.setenv("SDE_MOMENTUM_DATA", str(folder))
    with pytest.raises(InputError, match=r"^SDE_MOMENTUM_DATA: given nothing of it"):
        default_images(FASHION)
    write_fashion(folder / "x", drawn(10, 10, (28, 28, 1)))
    assert default_images(FASHION).source == load_images(FASHION).source == "FashionMNIST (IDX, incomplete)"
    assert default_images("digits").source == "digits (scikit-learn)"


def test_digits_are_all_of_scikit_learns_once():
    from sklearn.datasets import load_digits

    digits = load_images("digits")
    assert digits.train_images.shape == (1297, 8, 8, 1)
    assert digits.test_images.shape == (500, 8, 8, 1)
    assert np.bincount(digits.test_labels).tolist() == [50] * 10
    images = np.concatenate([digits.train_images, digits.test_images]).reshape(1797, 64)
    rows = np.column_stack([images, np.concatenate([digits.train_labels, digits.test_labels])])
    bunch = load_digits()
    expected = np.column_stack([bunch.data, bunch.target])
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])
    # every platform and version of numpy has the same split
    assert digits.checksum == "aecbed94af285c88"


# --- sets


def small_set(n_train=95, n_test=40, shape=(4, 6, 3)):
    images, labels, test_images, test_labels = drawn(n_train, n_test, shape)
    return ImageSet(images, labels, test_images, test_labels, tuple("abcdefghij"), "noise")


def test_subsets_are_balanced_reproducible_and_nested():
    whole = small_set()
    part = whole.subset(34, 20, seed=3)
    assert sorted(np.bincount(part.train_labels)) == [3] * 6 + [4] * 4
    assert np.bincount(part.test_labels).tolist() == [2] * 10
    again, other = whole.subset(34, 20, seed=3), whole.subset(34, 20, seed=4)
    assert again.checksum == part.checksum != other.checksum
    larger = whole.subset(80, 21, seed=3)
    np.testing.assert_array_equal(larger.train_images[:34], part.train_images)
    np.testing.assert_array_equal(larger.test_labels[:20], part.test_labels)
    for image, label in zip(part.train_images, part.train_labels, strict=True):  # with its own label
        (n,) = np.flatnonzero((whole.train_images == image).all(axis=(1, 2, 3)))
        assert whole.train_labels[n] == label
    everything = whole.subset(95, 40, seed=0)
    np.testing.assert_array_equal(np.bincount(everything.train_labels), np.bincount(whole.train_labels))
    assert len(np.unique(everything.train_images.reshape(95, -1), axis=0)) == 95


def test_every_image_is_as_likely_as_the_others_of_its_class():
    # 400 seeds draw 2 of 10: binomial(400, 0.2) of each image, 80 +- 8; 5 standard errors: false alarm 1e-5 over 20 images
    labels = np.repeat([0, 1], 10)
    hits = np.zeros(20)
    for seed in range(400):
        hits[balanced_order(labels, (seed, 0))[:4]] += 1
    assert hits.sum() == 1600
    assert np.all(np.abs(hits - 80) < 40)


def test_more_than_there_is_cannot_be_drawn():
    whole = small_set()
    with pytest.raises(InputError, match="n_train: given 96; allowed: at most the 95 images of noise"):
        whole.subset(96, 10, seed=0)
    with pytest.raises(InputError, match="n_test: given 41; allowed: at most the 40 images"):
        whole.subset(10, 41, seed=0)
    for arguments in ((0, 10, 0), (10, 0, 0), (10, 10, -1), (1.5, 10, 0)):
        with pytest.raises(InputError, match="allowed: a whole number"):
            whole.subset(*arguments)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-12)])
def test_arrays_have_the_statistics_of_the_training_part(dtype, tolerance):
    whole = small_set(n_train=2300)  # more than one chunk
    arrays = whole.arrays(dtype)
    assert arrays.train_inputs.dtype == arrays.test_inputs.dtype == dtype
    assert arrays.train_inputs.shape == (2300, 3, 4, 6)
    np.testing.assert_allclose(arrays.train_inputs.mean(axis=(0, 2, 3), dtype=float), 0, atol=tolerance)
    np.testing.assert_allclose(arrays.train_inputs.std(axis=(0, 2, 3), dtype=float), 1, atol=tolerance)
    pixels = whole.train_images.astype(float)
    mean, std = whole.statistics()
    np.testing.assert_allclose(mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(
        arrays.test_inputs[7, 1, 2, 3], (float(whole.test_images[7, 2, 3, 1]) - mean[1]) / std[1], rtol=1e-6
    )
    assert arrays.train_inputs.flags.writeable
    assert arrays.train_labels.flags.writeable


def test_pooling_takes_the_mean_of_each_block():
    whole = small_set()
    pooled = whole.pooled(2)
    assert pooled.train_images.shape == (95, 2, 3, 3)
    assert pooled.train_images.dtype == np.float32
    block = whole.test_images[5, 2:4, 4:6, 1].astype(float)
    assert pooled.test_images[5, 1, 2, 1] == block.mean()
    with pytest.raises(InputError, match="factor: given 4; allowed: a divisor of 4 and 6"):
        whole.pooled(4)
    assert whole.pooled(1).checksum != whole.checksum  # other numbers: float32


def test_the_checksum_notices_every_pixel_and_label():
    whole = small_set()
    parts = {name: getattr(whole, name).copy() for name in ("train_images", "train_labels", "test_images", "test_labels")}

    def rebuilt():
        return ImageSet(**parts, classes=whole.classes, source="another name")

    assert rebuilt().checksum == whole.checksum
    for array in parts.values():
        old = array.flat[-1]
        array.flat[-1] = (int(old) + 1) % 10
        assert rebuilt().checksum != whole.checksum
        array.flat[-1] = old
    assert rebuilt().checksum == whole.checksum


def test_sets_are_consistent_and_stay_so():
    images, labels, test_images, test_labels = drawn(20, 10, (4, 4, 1))
    whole = ImageSet(images, labels, test_images, test_labels, tuple("abcdefghij"), "noise")
    with pytest.raises(ValueError, match="read-only"):
        whole.train_images[0] = 0
    assert images.flags.writeable  # the array of the caller
    for change, match in (
        ({"train_images": images[..., 0]}, "train_images: given shape"),
        ({"train_images": images.astype(float)}, "uint8 or float32"),
        ({"test_images": test_images[:, :3]}, "as for training"),
        ({"train_labels": labels[1:]}, "train_labels: given shape"),
        ({"test_labels": test_labels.astype(np.int32)}, "int64"),
        ({"classes": tuple("abc")}, "train_labels: given 0 to 9; allowed: 0 to 2"),
    ):
        good = {"train_images": images, "train_labels": labels, "test_images": test_images, "test_labels": test_labels}
        with pytest.raises(InputError, match=match):
            ImageSet(**{**good, "classes": whole.classes, "source": "noise", **change})
    flat = ImageSet(np.zeros_like(images), labels, test_images, test_labels, whole.classes, "noise")
    with pytest.raises(InputError, match="channel 0 of one shade throughout"):
        flat.arrays()
    with pytest.raises(InputError, match="dtype: given int8; allowed: float32 or float64"):
        whole.arrays(np.int8)
