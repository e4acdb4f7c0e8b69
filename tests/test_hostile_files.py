"""Files that nobody meant well, or that broke on the way: one message at most, always.

Every input is made by hypothesis from the same seed each time. Whatever a file holds, reading it
gives a result or a HarnessError, ends, and writes nothing outside of the test's own folder.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core.call import parse_call, split_list
from harness.core.errors import HarnessError
from harness.core.shards import parse_seeds
from harness.experiments.benchmark import load
from harness.experiments.varying import parse_vary
from harness.metrics.references import read_reference
from harness.models.edm.checkpoints import read_checkpoint
from harness.prompts.base import load_prompts
from harness.prompts.readers import READERS
from harness.runs.importing import import_images
from harness.runs.manifest import Declared, describe
from harness.store import files
from harness.store.collections import open_images
from harness.store.image_arrays import load_arrays
from harness.store.run import Run
from tests.store.test_collections import folder, picture

SECONDS = 60
"""No input may take longer; the slowest takes a fraction of one."""

INPUTS = {
    "prompt tables": 500,
    "YAML": 250,
    "sampler strings": 1000,
    "manifests": 300,
    "shards": 250,
    "run records": 200,
    "arrays": 400,
    "archives": 300,
    "pickles": 400,
}
"""Inputs of each kind: 3,600."""


def inputs(kind: str) -> Callable[[Any], Any]:
    return settings(
        max_examples=INPUTS[kind],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[*HealthCheck],
    )


_written: list[str] = []
_watching: list[str] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event == "open" and isinstance(arguments[0], str):
        mode, flags = arguments[1] or "", arguments[2] or 0
        if set("wax+") & set(mode) or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            _written.append(arguments[0])
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink"):
        _written.extend(str(path) for path in arguments[:2] if isinstance(path, str | os.PathLike))


sys.addaudithook(_audit)


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@contextmanager
def harmless(here: Path) -> Iterator[None]:
    """Passes a HarnessError of one line; fails at any other, at a hang, at a write elsewhere."""

    def hangs(*_: object) -> None:
        raise AssertionError(f"took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(SECONDS)
    _written.clear()
    _watching.append(str(here))
    said = "nothing"
    try:
        yield
    except HarnessError as error:
        said = str(error)
    finally:
        _watching.clear()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert said.strip()
    away = [path for path in _written if not os.path.realpath(path).startswith(str(here))]
    assert not [path for path in away if path != os.devnull]


def mutated(*whole: bytes) -> st.SearchStrategy[bytes]:
    """One of these contents with some bytes changed, put in, doubled or cut off."""
    edits = st.lists(
        st.tuples(st.floats(0, 1), st.binary(min_size=0, max_size=6), st.integers(0, 40)),
        max_size=4,
    )
    return st.builds(_edited, st.sampled_from(whole), edits, st.floats(0.3, 1.5))


def _edited(data: bytes, edits: list[tuple[float, bytes, int]], keep: float) -> bytes:
    for place, new, gone in edits:
        at = int(place * len(data))
        data = data[:at] + new + data[at + gone :]
    return data[: int(len(data) * min(keep, 1))]


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
    st.sampled_from(["../../etc", "a\0b", "0-99999999999", "9" * 5000, "\ud800", "=1+1", "*a"]),
)  # fmt: skip
NAMES = st.sampled_from(
    ["prompt", "file", "image", "path", "seed", "id", "prompt_id", "text", "tag", "nfe", "Prompt"]
)
ROWS = st.lists(
    st.dictionaries(NAMES | st.text(max_size=5), SCALARS | st.lists(SCALARS, max_size=2)),
    max_size=5,
)
NASTY = [
    b'{"prompt": ' * 3000, b"[" * 9000, b'{"a":' * 9000, b'[{"prompt": 1' + b"0" * 5000 + b"}]",
    b'prompt,file\n"a,0.png\n', b"prompt\tfile\n\"a\" b\t0.png\n", b"\xff\xfe\x00", b"", b"\n\n",
    b"prompt,prompt\n", b"prompt,file,seed\n" + b"a,../0.png,1e400\n", b"a" * 200_000,
    b"prompt,file\n" + b"a,0.png\n" * 3, b"prompt,file,seed\na,/etc/0.png,-1\nb,1,nan\n",
]  # fmt: skip
TABLES = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass")),
    ROWS.map(lambda rows: json.dumps(rows).encode()),
    ROWS.map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    st.dictionaries(st.text(max_size=4), SCALARS | ROWS).map(lambda one: json.dumps(one).encode()),
    mutated(*NASTY),
    st.sampled_from(NASTY),
)


@inputs("prompt tables")
@given(data=TABLES, suffix=st.sampled_from(sorted(READERS)))
def test_prompt_tables(here, data, suffix):
    path = here / f"t{suffix}"
    path.write_bytes(data)
    with harmless(here):
        load_prompts(str(path))


BENCHMARK = {
    "title": "x", "model": "shapes", "prompts": "shapes", "candidate": "ddim",
    "metrics": ["saturation"], "tiny": {"limit": 1},
}  # fmt: skip
YAML = [
    json.dumps(BENCHMARK).encode(),
    b"name: ../../evil\n" + json.dumps(BENCHMARK)[1:-1].replace(', "', '\n"').encode(),
    b"a: " + b"[" * 5000,
    b"".join(b"  " * n + b"k:\n" for n in range(400)),
    b"a: &a [1]\n" + b"".join(b"k%d: &k%d [*a, *a]\n" % (n, n) for n in range(60)),
    b"tiny: 3\n", b"tiny: [1]\n", b"name: " + b"9" * 5000, b"limit: 2001-99-99",
    b"!!python/object/apply:os.system ['touch /tmp/evil']", b"? [a]\n: b", b"a: *b", b"<<: 3",
]  # fmt: skip


@inputs("YAML")
@given(
    data=st.one_of(
        mutated(*YAML),
        st.sampled_from(YAML),
        st.dictionaries(st.sampled_from([*BENCHMARK, "name", "vary", "candidates"]), SCALARS).map(
            lambda some: json.dumps({**BENCHMARK, **some}).encode()
        ),
    ),
    tiny=st.booleans(),
)
def test_yaml(here, data, tiny):
    path = here / "b.yaml"
    path.write_bytes(data)
    with harmless(here):
        name = load(str(path), tiny).name
        assert "/" not in name
        assert ".." not in name[:2]


PIECES = st.sampled_from(
    ["ddim", "(", ")", "[", "]", "{", "}", ",", "=", "'", '"', "steps", "9" * 400, "1e999", "-",
     " ", "none", "inf", "nan", "0x1", "1_0", "\\", "\0", "\ud800", "٣", ":", "./a.py:f", "b'"]
)  # fmt: skip
CALLS = st.lists(PIECES | st.text(max_size=3), max_size=14).map("".join)


@inputs("sampler strings")
@given(
    text=CALLS
    | st.lists(PIECES, max_size=6).map(lambda parts: f"a(b={''.join(parts)})")
    | st.integers(1, 60_000).map(lambda n: f"a(b={'[' * n}{']' * n})")
)
def test_sampler_strings(here, text):
    for read in (parse_seeds, split_list, parse_vary):
        with harmless(here):
            read(text)
    with harmless(here):
        call = parse_call(text)
        if call.params:
            assert parse_call(str(call)) == call


@pytest.fixture(scope="module")
def pictures(here) -> str:
    return folder(here / "pictures", {f"{n}.png": picture(n) for n in range(3)})


@inputs("manifests")
@given(data=TABLES, suffix=st.sampled_from(sorted(READERS)), given_as=st.booleans())
def test_manifests(here, pictures, data, suffix, given_as):
    path = here / f"m{suffix}"
    path.write_bytes(data)
    with harmless(here):
        declared = Declared(prompts=str(path)) if given_as else Declared(manifest=str(path))
        items = list(describe(open_images(pictures), declared))
        assert all(item.entry is None or item.entry.name in ("0.png", "1.png", "2.png")
                   for item in items)  # fmt: skip


@pytest.fixture(scope="module")
def run(here, pictures) -> Run:
    return import_images(pictures, Declared(), out=str(here / "run"))


@inputs("shards")
@given(data=st.data())
def test_shards(here, run, data):
    shard = Path(run.file("images", run.shards()[0]))
    good = shard.with_suffix(".good")
    if not good.exists():
        good.write_bytes(shard.read_bytes())
    damaged = data.draw(mutated(good.read_bytes()))
    (here / "s.parquet").write_bytes(damaged)
    with harmless(here):
        for _ in open_images(str(here / "s.parquet")):
            pass
    with harmless(here):
        files.read_table(str(here / "s.parquet"))
    with harmless(here):
        load_prompts(f"{here}/s.parquet")


@inputs("run records")
@given(data=st.data())
def test_run_records(here, run, data):
    whole = json.loads(Path(run.path, "run.json").read_text())
    whole[data.draw(st.sampled_from([*whole]))] = data.draw(SCALARS | st.lists(SCALARS))
    whole["spec"] = data.draw(st.just(whole["spec"]) | SCALARS | st.dictionaries(NAMES, SCALARS))
    text = json.dumps(whole).encode()
    (here / "other").mkdir(exist_ok=True)
    (here / "other" / "run.json").write_bytes(data.draw(mutated(text) | st.just(text)))
    with harmless(here):
        Run.open(str(here / "other"))


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _claiming(shape: str, kind: str = "|u1") -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(60)


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


SHAPES = st.lists(
    st.sampled_from([0, 1, 3, 32, -1, 1 << 40, 1 << 62, 1 << 70]), max_size=5
).map(lambda sides: "(" + "".join(f"{side}," for side in sides) + ")")  # fmt: skip
ARRAYS = st.one_of(
    mutated(
        _npz(arr_0=np.zeros((2, 4, 4, 3), np.uint8), arr_1=np.arange(2)),
        _npz(mu=np.zeros(2), sigma=np.eye(2), n=np.int64(9)),
        _npz(noise=np.zeros((1, 2, 2, 2)), text=np.array("a")),
    ),
    st.builds(
        lambda shape, kind, name: _zip({name: _claiming(shape, kind)}),
        SHAPES | st.sampled_from(["(" * 500, "None", "(2.5,)", "(True,)", "()"]),
        st.sampled_from(
            ["|u1", "<f8", "|O", "<U9", "<U99999999", "[('a', '<i4')]", "|V0", "<M8[s]"]
        ),
        st.sampled_from(["arr_0.npy", "mu.npy", "noise.npy", "n.npy", "../n.npy", "features.npy"]),
    ),
)


@inputs("arrays")
@given(data=ARRAYS)
def test_arrays(here, data):
    path = here / "a.npz"
    path.write_bytes(data)
    with harmless(here):
        for _ in open_images(str(path)):
            pass
    with harmless(here):
        load_arrays(str(path), ("noise", "draws"))
    with harmless(here):
        read_reference(path)


def _tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


MEMBERS = [
    {"a/0.png": picture(0), "a/1.png": picture(1), "a/metadata.csv": b"file_name,text\n0.png,x\n"},
    {"0.png": picture(0), "0.txt": b"a", "dataset.json": b'{"labels": [["0.png", 1]]}'},
    {"../../x.png": picture(0), "/etc/x.png": picture(1), "metadata.jsonl": b'{"prompt": 1}'},
    {"0.png": b"", "dataset.json": b'{"labels": [["0.png", 1' + b"0" * 5000 + b"]]}"},
]


@inputs("archives")
@given(
    data=st.one_of(
        mutated(*map(_zip, MEMBERS)).map(lambda data: ("zip", data)),
        mutated(*map(_tar, MEMBERS)).map(lambda data: ("tar", data)),
        st.dictionaries(
            st.sampled_from(["0.png", "0.txt", "dataset.json", "metadata.csv", "metadata.jsonl"]),
            TABLES,
        ).map(lambda members: ("zip", _zip({**members, "1.png": picture(1)}))),
    )
)
def test_archives(here, data):
    ending, content = data
    path = here / f"z.{ending}"
    path.write_bytes(content)
    with harmless(here):
        images = open_images(str(path))
        list(describe(images, Declared()))
        for _ in images:
            pass


def _saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


PICKLES = [
    _saved({"w": torch.zeros(3), "b": torch.ones(2, 2)}),
    _saved({"net": {"w": torch.zeros(3)}, "step": 9}),
    _saved({"net": {"w": torch.zeros(3)}}, _use_new_zipfile_serialization=False),
    b"\x80\x04cos\nsystem\n\x8c\x10touch /tmp/evil1\x85R.",
    b"\x80\x04" + b"]" * 5000 + b"a" * 4999 + b".",
    b"\x80\x02" + b"(" * 5000 + b"t" * 5000 + b".",
    b"\x80\x04\x8e" + b"\xff" * 8,
    b"\x80\x04}\x94" + b"h\x00h\x00s" * 50 + b".",
]


@inputs("pickles")
@given(data=mutated(*PICKLES) | st.sampled_from(PICKLES))
def test_pickles(here, data):
    for name in ("p.pt", "p.pkl"):
        (here / name).write_bytes(data)
    with harmless(here):
        checkpoint = read_checkpoint(here / "p.pt")
        for network in checkpoint.networks.values():
            network.state_dict()
    with harmless(here):
        read_reference(here / "p.pkl")
    assert not os.path.exists("/tmp/evil")
    assert not os.path.exists("/tmp/evil1")
