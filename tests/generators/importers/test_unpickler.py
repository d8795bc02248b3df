"""Files that mean harm, or are damaged: nothing runs, little is allocated, one sentence says what was found."""

from __future__ import annotations

import io
import os
import pickle
import random
import re
import struct
import tracemalloc
import zipfile

import pytest
import torch
from foreign_files import SOURCE, EasyDict, Record, network, nvidia_bytes, nvidia_module, record, rosinality_file

from faceaug.errors import FaceaugError, GeneratorError
from faceaug.generators.importers.convert import read_foreign
from faceaug.generators.importers.torch_file import read_torch_file
from faceaug.generators.importers.unpickler import ConstructedObject, GlobalName, read_pickle, refusal_reason
from faceaug.generators.stylegan2_networks import StyleGAN2Config

TINY = StyleGAN2Config(8, z_dim=4, w_dim=4, mapping_layers=1, channel_base=32, channel_max=4)
RAN = "touch ran"  # what the files below would do in the current folder


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(path, message):
    with pytest.raises(GeneratorError, match=message) as caught:
        read_foreign(path).tensors()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert not os.path.exists("ran"), "the file ran something"


class Calls:
    """Pickles as a call of whatever it is given."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        *others, last = self.call
        return (*others, iter(last)) if isinstance(last, type({}.items())) else self.call


def test_what_is_read_is_only_noted():
    data = pickle.dumps(
        {"a": [1, 2.5, "x", b"y", None, True], "b": Calls(os.system, (RAN,)), "c": (1, {2}, (), (3, 4, 5, 6))}
    )
    found = read_pickle(io.BytesIO(data), "f", {"posix.system", "nt.system"}, refusal_reason)
    assert found["a"] == [1, 2.5, "x", b"y", None, True]
    assert isinstance(found["b"], ConstructedObject)
    assert (found["b"].name.partition(".")[2], found["b"].args) == ("system", (RAN,))
    assert found["c"] == (1, [2], (), (3, 4, 5, 6))
    assert not os.path.exists("ran")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_of_every_protocol(protocol):
    value = {"a": [1, -2, 2**70, 0.5, "x\u20ac"], "b": {"c": (1, (2, 3), None)}, "d": [True, False, [], {}]}
    value["again"] = value["b"]
    data = pickle.dumps(value, protocol)
    assert read_pickle(io.BytesIO(data), "f", (), refusal_reason) == value


HARMFUL = {
    "os.system": (Calls(os.system, (RAN,)), r"names (posix|nt)\.system, which no generator needs"),
    "eval": (Calls(eval, ("__import__('os').system('touch ran')",)), r"names builtins\.eval"),
    "exec": (Calls(exec, ("import os; os.system('touch ran')",)), r"names builtins\.exec"),
    "getattr": (Calls(getattr, (os, "system")[:0] or ("x", "upper")), r"names builtins\.getattr"),
    "torch.load": (Calls(torch.load, ("x.pt",)), r"names torch\.serialization\.load"),
    "nested": (Calls(tuple, ([Calls(os.system, (RAN,))],)), r"names (posix\.system|nt\.system|builtins\.tuple)"),
    "as a state": (Calls(EasyDict, (), Calls(os.system, (RAN,))), "names"),
    "as an entry": (Calls(EasyDict, (), None, None, {"k": Calls(os.system, (RAN,))}.items()), "names"),
}


@pytest.mark.parametrize("how", HARMFUL)
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_calls_are_refused_wherever_they_are(tmp_path, how, protocol, monkeypatch):
    value, message = HARMFUL[how]
    monkeypatch.setattr(pickle, "DEFAULT_PROTOCOL", protocol)
    monkeypatch.setattr(pickle, "dumps", lambda value, to=protocol: pickle._dumps(value, to))
    path = tmp_path / "n.pkl"
    message = message if protocol > 2 else message.replace("builtins", "(builtins|__builtin__)")
    module = nvidia_module(network(TINY))
    for place in (value, record("Layer", deep=[{"x": value}]), nvidia_bytes(module, augment_pipe=value)):
        data = place if isinstance(place, bytes) else nvidia_bytes(place)
        if isinstance(place, bytes):
            assert b"system" in data or b"eval" in data or b"exec" in data or b"attr" in data or b"load" in data
        path.write_bytes(data)
        refused(path, message)


def raw(body, protocol=b"\x80\x04"):
    return protocol + body + b"."


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (raw(b"cposix\nsystem\n(S'touch ran'\ntR"), r"names posix\.system"),
        (raw(b"\x8c\x05posix\x8c\x06system\x93\x8c\x09touch ran\x85R"), r"names posix\.system"),
        (raw(b"(S'touch ran'\niposix\nsystem\n"), "uses INST"),
        (raw(b"(cposix\nsystem\nS'touch ran'\no"), r"names posix\.system"),
        (raw(b"(ccollections\nOrderedDict\nS'touch ran'\no"), "uses OBJ"),
        (raw(b"\x82\x01"), "uses EXT1"),
        (raw(b"\x8c\x05posix\x94h\x00\x8c\x06system\x93"), r"names posix\.system"),
        (raw(b"ccollections\nOrderedDict.__init__.__globals__\n"), r"OrderedDict\.__init__"),
        (raw(b"cos\nsystem\x00\n"), r"names os\.system\?,"),
        (raw(b"ccollections\nOrderedDict\n)R)R"), "calls a ConstructedObject"),
        (raw(b"}(]K\x01u"), "a list as a key"),
        (raw(b"K\x01K\x02a"), "entries for a int"),
        (raw(b"0"), "cannot be read"),
        (raw(b"h\x07"), "cannot be read"),
        (b"\x80\x04]", "truncated|cannot be read"),
        (b"\x80\x04" + b"\xff" * 9, "cannot be read"),
        (b"hello, this is no pickle", "is a text file"),
        (raw(b"(" * 50), "."),
        (raw(b"I" + b"9" * 9000 + b"\n"), "."),
        (raw(b"F" + b"x" * 300 + b"\n"), "cannot be read"),
    ],
)
def test_instructions_that_no_generator_has(tmp_path, data, message):
    (tmp_path / "n.pkl").write_bytes(data)
    refused(tmp_path / "n.pkl", message)


def test_pickles_of_tensorflow_are_told_how_to_be_converted(tmp_path):
    (tmp_path / "n.pkl").write_bytes(raw(b"cdnnlib.tflib.network\nNetwork\n)\x81"))
    refused(tmp_path / "n.pkl", r"convert it with legacy\.py")


def test_source_text_in_the_file_is_never_run(tmp_path):
    path = tmp_path / "n.pkl"
    path.write_bytes(nvidia_bytes(nvidia_module(network(TINY))))
    assert SOURCE.encode() in path.read_bytes()
    assert read_foreign(path).tensors()


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (None, "no entry G_ema or G"),
        (3, "no readable module at G_ema"),
        (Record("Generator"), "no readable module at G_ema"),
        ({"state": {}}, "no readable module"),
        (record("Generator"), "neither a StyleGAN2 nor a StyleGAN3"),
    ],
)
def test_files_without_a_generator(tmp_path, module, message):
    (tmp_path / "n.pkl").write_bytes(nvidia_bytes(module))
    refused(tmp_path / "n.pkl", message)


def test_modules_without_end(tmp_path):
    top = innermost = record("Generator")
    for _ in range(30):
        inner = record("Layer")
        innermost.state["_modules"]["x"] = inner
        innermost = inner
    (tmp_path / "n.pkl").write_bytes(nvidia_bytes(top))
    refused(tmp_path / "n.pkl", "nested more than 8 deep")
    wide = record("Layer", _parameters={str(k): 1 for k in range(50)})
    for _ in range(6):
        wide = record("Layer", _modules={str(k): wide for k in range(20)})
    (tmp_path / "n.pkl").write_bytes(nvidia_bytes(wide))
    refused(tmp_path / "n.pkl", "more than 4096 tensors")


def peak(path):
    """Return the most bytes that Python held while it refused a file."""
    tracemalloc.start()
    try:
        with pytest.raises(GeneratorError):
            read_foreign(path).tensors()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [
        raw(b"\x8e" + struct.pack("<Q", 1 << 40) + b"x"),
        raw(b"\x8d" + struct.pack("<Q", 1 << 40) + b"x"),
        raw(b"\x96" + struct.pack("<Q", 1 << 40) + b"x"),
        raw(b"B\xff\xff\xff\x7fx"),
        raw(b"K\x01r\xff\xff\xff\xff"),
        raw(b"\x95" + struct.pack("<Q", 1 << 50) + b"K\x01"),
        raw(b"\x8b\xff\xff\xff\x7fx"),
    ],
    ids=["bytes", "text", "bytearray", "old bytes", "memo", "frame", "number"],
)
def test_claims_of_size_allocate_nothing(tmp_path, data):
    (tmp_path / "n.pkl").write_bytes(data)
    assert peak(tmp_path / "n.pkl") < 1_000_000


def test_a_pickle_of_too_many_instructions():
    with pytest.raises(GeneratorError, match="more than 1000 instructions"):
        read_pickle(io.BytesIO(raw(b"}0" * 1000 + b"N")), "f", (), refusal_reason, max_instructions=1000)


def repacked(source, target, change=lambda name, data: data, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


@pytest.fixture
def pt(tmp_path):
    return rosinality_file(tmp_path / "r.pt", network(TINY))


def test_a_zip_bomb(tmp_path, pt):
    def inflate(name, data):
        return bytes(50_000_000) if name.endswith("/data/0") else data

    bomb = repacked(pt, tmp_path / "bomb.pt", inflate, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 200_000
    assert peak(bomb) < 1_000_000
    refused(bomb, "is packed")


def test_a_packed_pickle(tmp_path, pt):
    refused(repacked(pt, tmp_path / "p.pt", compression=zipfile.ZIP_DEFLATED), "is packed")


def test_entries_that_lie_in_one_another(tmp_path, pt):
    """The directory names one entry many times: each is as large as the file allows, together they are not."""
    data = bytearray(pt.read_bytes())
    with zipfile.ZipFile(pt) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        first = archive.start_dir
    end = data.rindex(b"PK\x05\x06")
    directory = bytes(data[first:end])
    at = directory.index(largest.filename.encode()) - 46
    size = 46 + sum(struct.unpack_from("<HHH", directory, at + 28))
    entry = directory[at : at + size]
    count = 60
    tail = bytearray(data[end:])
    total = struct.unpack_from("<H", tail, 8)[0] + count
    struct.pack_into("<HHI", tail, 8, total, total, len(directory) + count * size)
    (tmp_path / "o.pt").write_bytes(bytes(data[:end]) + entry * count + bytes(tail))
    refused(tmp_path / "o.pt", "hold .* bytes together|truncated or damaged")


def test_a_pt_that_names_what_it_may_not(tmp_path):
    for value in (Calls(os.system, (RAN,)), Calls(eval, ("1",)), {"x": [Calls(print, ("x",))]}):
        for old in (False, True):
            path = rosinality_file(tmp_path / "r.pt", network(TINY), old=old, more=value)
            refused(path, "names .*, which no generator needs")


def test_a_trained_pt_with_its_command_line_is_read(tmp_path):
    assert read_foreign(rosinality_file(tmp_path / "t.pt", network(TINY), converted=False)).tensors()


def test_a_pt_without_a_generator(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", "no entry g_ema")
    torch.save([1, 2], tmp_path / "x.pt")
    refused(tmp_path / "x.pt", "no entry g_ema")
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("hello.txt", "hello")
    refused(tmp_path / "x.pt", "no data.pkl")


def test_a_tensor_that_claims_more_than_its_storage(tmp_path, pt):
    """torch's own reader, safe as it is against code, would allocate what such a file claims."""

    def claim(name, data):
        if not name.endswith("data.pkl"):
            return data
        return re.sub(rb"K\x04K\x04K\x03K\x03t", b"K\x04K\x04K\x03K\xfft", data, count=1)

    bad = repacked(pt, tmp_path / "c.pt", claim)
    assert bad.read_bytes() != pt.read_bytes()
    with pytest.raises(GeneratorError, match=r"of the shape|claims the shape"):
        read_foreign(bad).tensors()


def test_one_storage_for_all_tensors(tmp_path):
    """A small file whose tensors are views of one storage would become a large network."""
    shared = torch.zeros(64 * 64 * 9)
    torch.save({f"k{k}": shared.view(64, 64, 3, 3) for k in range(3)}, tmp_path / "s.pt")
    file = read_torch_file(tmp_path / "s.pt", (), refusal_reason)
    assert file.tensor(file.value["k0"], "k0").shape == (64, 64, 3, 3)
    with pytest.raises(GeneratorError, match="larger together than the file"):
        file.tensor(file.value["k1"], "k1")


@pytest.mark.parametrize("kind", ["pkl", "pt", "old pt"])
def test_truncated_anywhere(tmp_path, kind):
    data = whole_file(tmp_path, kind).read_bytes()
    path = tmp_path / "cut"
    for share in (0.0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999):
        path.write_bytes(data[: int(share * len(data))])
        refused(path, "truncated|damaged|empty|cannot be read|not there|no file")


def whole_file(tmp_path, kind):
    if kind == "pkl":
        path = tmp_path / "n.pkl"
        path.write_bytes(nvidia_bytes(nvidia_module(network(TINY))))
        return path
    return rosinality_file(tmp_path / "r.pt", network(TINY), converted=False, old=kind == "old pt")


def mutated(data, rng):
    """Change a few bytes, cut, repeat or drop a piece; the pickle's own bytes are hit more often than the numbers."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at = rng.randrange(len(data))
        how = rng.randrange(5)
        if how <= 1:
            data[at] = rng.randrange(256)
        elif how == 2:
            data[at] ^= 1 << rng.randrange(8)
        elif how == 3:
            end = min(len(data), at + rng.randrange(1, 40))
            data[at:at] = data[rng.randrange(len(data)) :][: end - at]
        else:
            del data[at : at + rng.randrange(1, 40)]
    return bytes(data)


@pytest.mark.parametrize("kind", ["pkl", "pt", "old pt"])
def test_mutated_files_end_in_an_error_of_ours_or_in_success(tmp_path, kind):
    rounds = int(os.environ.get("FACEAUG_FUZZ", "60"))
    data, path, rng = whole_file(tmp_path, kind).read_bytes(), tmp_path / "m.pkl", random.Random(kind)
    refusals = []
    for _ in range(rounds):
        path.write_bytes(mutated(data, rng))
        try:
            found = read_foreign(path).tensors()
            assert all(torch.isfinite(tensor).all() for tensor in found.values())
        except FaceaugError as error:
            refusals.append(str(error))
    assert len(refusals) > rounds // 10
    assert not [message for message in refusals if "\n" in message or len(message) > 500]


def test_names_are_not_values():
    assert GlobalName("a.b") == GlobalName("a.b") != GlobalName("a.c")
