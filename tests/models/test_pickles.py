"""Published checkpoints: whole ones give their tensors back, hostile ones run nothing."""

from __future__ import annotations

import contextlib
import copyreg
import json
import pickle
import random
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

from harness import cli
from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.engine.ensemble import Ensemble
from harness.engine.noise import NoiseStreams
from harness.engine.resolve import resolve
from harness.models.edm.checkpoints import checkpoint, read_checkpoint
from harness.models.edm.checkpoints.convert import convert
from harness.models.load import load
from tests.models import hostile, published


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "executed"


def _source(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()\nraise SystemExit\n"


@pytest.mark.parametrize("form", ["pkl", "old.pkl", "pkl2", "pt", "legacy.pt"])
@pytest.mark.parametrize("net", ["edm", "pfgmpp", "edm2"])
def test_a_published_network_is_read_and_its_source_is_not_run(
    net: str, form: str, tmp_path: Path, canary: Path
) -> None:
    snapshot = published.snapshot(net, _source(canary), old=form == "old.pkl")
    path = tmp_path / f"network.{form}"
    if form.endswith("pt"):
        snapshot = {
            "ema": snapshot["ema"],
            "optimizer_state": {"state": {0: {"step": torch.ones(1)}}},
            "step": 7,
        }
        path.write_bytes(published.saved(snapshot, archive=form == "pt"))
    else:
        path.write_bytes(published.pickled(snapshot, protocol=2 if form == "pkl2" else 4))
    found = read_checkpoint(path).network()
    facts, tensors = published.weights(net)
    assert found.class_name == facts["class_name"]
    assert found.init_kwargs == facts["init_kwargs"]
    assert found.attributes["img_resolution"] == facts["init_kwargs"]["img_resolution"]
    assert found.attributes["sigma_max"] == float("inf")
    assert found.attributes["skip_scale"] == 0.5**0.5
    state = found.state_dict()
    assert state.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name], tensor)
    assert found.parameters == sum(
        t.numel() for n, t in tensors.items() if n.split(".")[-1] not in published.BUFFERS
    )
    assert not canary.exists()


def _refusal(path: Path) -> str:
    with pytest.raises(HarnessError) as refused:
        read_checkpoint(path)
    return str(refused.value)


@pytest.fixture
def extension() -> Iterator[None]:
    copyreg.add_extension("os", "system", hostile.EXTENSION)
    yield
    copyreg.remove_extension("os", "system", hostile.EXTENSION)


@pytest.mark.usefixtures("extension")
@pytest.mark.parametrize("name", hostile.LIVE)
def test_the_payloads_are_live(name: str, canary: Path) -> None:
    """Python's own unpickler runs them: otherwise the test below proves nothing."""
    data, _ = hostile.any_program(name, str(canary))
    with contextlib.suppress(Exception):
        pickle.loads(data)
    for _ in range(3000):
        if canary.exists():
            return
        time.sleep(0.01)
    raise AssertionError("the payload did not run")


@pytest.mark.usefixtures("extension")
@pytest.mark.parametrize("name", [*hostile.LIVE, *hostile.HOSTILE])
def test_hostile_pickles_are_refused_and_run_nothing(
    name: str, tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_STEPS", 200_000)  # a fifth, for speed
    data, words = hostile.any_program(name, str(canary))
    path = tmp_path / "network.pkl"
    path.write_bytes(data)
    message = _refusal(path)
    assert re.search(words, message)
    assert "\n" not in message
    assert "\x1b" not in message
    assert not canary.exists()


def _good() -> bytes:
    return published.pickled(published.snapshot("edm2", "x"))


OTHER_FILES = list(hostile.other_files(b""))


@pytest.mark.parametrize("name", OTHER_FILES)
@pytest.mark.parametrize("suffix", ["pkl", "pt"])
def test_other_files_are_refused_by_what_they_are(name: str, suffix: str, tmp_path: Path) -> None:
    data, words = hostile.other_files(_good())[name]
    path = tmp_path / f"network.{suffix}"
    path.write_bytes(data)
    assert words in _refusal(path)


@pytest.mark.parametrize("form", ["pkl", "pt", "legacy"])
def test_a_file_cut_anywhere_is_refused(form: str, tmp_path: Path) -> None:
    snapshot = published.snapshot("edm2", "x")
    data = _good() if form == "pkl" else published.saved(snapshot, archive=form == "pt")
    path = tmp_path / "network.pkl"
    for tenth in range(1, 10):
        path.write_bytes(data[: len(data) * tenth // 10])
        assert re.search("truncated|damaged", _refusal(path))
    path.write_bytes(data[:-1])
    assert re.search("truncated|damaged", _refusal(path))


@pytest.mark.parametrize("form", ["pkl", "pt", "legacy"])
def test_a_damaged_file_is_read_or_refused_and_nothing_else(form: str, tmp_path: Path) -> None:
    """Random bytes changed where they matter: among the opcodes, not the weights."""
    body = hostile.with_tensor(hostile.tensor())
    data = hostile.program(body)
    if form != "pkl":
        small = {"ema": {"w": torch.arange(4.0)}, "step": 1, "set": {"a"}}
        data = published.saved(small, archive=form == "pt")
    chance = random.Random(0)
    path = tmp_path / "network.pkl"
    messages = []
    for _ in range(400):
        changed = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(changed)
        try:
            for network in read_checkpoint(path).networks.values():
                network.state_dict()
        except HarnessError as error:
            messages.append(str(error))
    assert len(messages) > 80
    assert not any("\n" in message for message in messages)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    assert "No such file" in _refusal(tmp_path / "absent.pkl")
    assert "is not a file" in _refusal(tmp_path)
    assert "cannot be read" in _refusal(Path("a\0b"))


def test_tensors_keep_their_layout_and_type(tmp_path: Path) -> None:
    """Views, transposes, scalars, empty ones and every number type, from all three forms."""
    base = torch.arange(24).reshape(4, 6)
    tensors = {
        "transposed": base.t(),
        "view": base[1:3, ::2],
        "scalar": torch.tensor(3.5, dtype=torch.float64),
        "empty": torch.zeros(0, 3),
        "expanded_row": base[0],
        **{
            str(dtype).removeprefix("torch."): torch.ones(3, dtype=dtype)
            for dtype in (torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.bool)
        },
    }
    for form, data in {
        "pkl": published.pickled({"ema": tensors}),
        "pt": published.saved({"ema": tensors}),
        "legacy": published.saved({"ema": tensors}, archive=False),
    }.items():
        path = tmp_path / f"{form}.pt"
        path.write_bytes(data)
        network = read_checkpoint(path).network()
        assert network.class_name is None
        for name, value in network.state_dict().items():
            assert value.dtype == tensors[name].dtype
            assert torch.equal(value, tensors[name])


def test_a_parse_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "network.pkl"
    path.write_bytes(published.pickled({"ema": {"w": torch.zeros(2)}}))
    first = read_checkpoint(path)
    assert read_checkpoint(path) is first
    other = tmp_path / "other.pkl"
    other.write_bytes(published.pickled({"ema": {"w": torch.ones(3)}}))
    other.replace(path)
    assert read_checkpoint(path).network().state_dict()["w"].tolist() == [1, 1, 1]
    assert first.network().state_dict()["w"].tolist() == [0, 0]


def test_the_network_is_chosen_by_key(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    path.write_bytes(published.saved({"net": {"w": torch.zeros(1)}, "net2": {"w": torch.ones(1)}}))
    with pytest.raises(HarnessError, match="several networks, choose one of: net, net2"):
        read_checkpoint(path).network()
    with pytest.raises(HarnessError, match=r"unknown network 'net3' for .*: did you mean 'net"):
        read_checkpoint(path).network("net3")
    path.write_bytes(published.saved({"step": 3}))
    with pytest.raises(HarnessError, match="holds no network: its keys are step"):
        read_checkpoint(path).network()


def _written(folder: Path, net: str, canary: Path) -> Path:
    """A published file: a `.pt` for PFGM++, a `.pkl` for the others."""
    snapshot = published.snapshot(net, _source(canary))
    path = folder / f"{net}.{'pt' if net == 'pfgmpp' else 'pkl'}"
    path.write_bytes(
        published.saved({"ema": snapshot["ema"], "step": 7})
        if net == "pfgmpp"
        else published.pickled(snapshot)
    )
    return path


def _sample(path: Path) -> torch.Tensor:
    model = load(str(path))
    noise = NoiseStreams([3, 4], model.latent_shape((8, 8)), dtype=model.state_dtype)
    call = resolve(parse_call("edm(steps=3)"), {})
    return Ensemble(model).run(call, [""] * 2, [None] * 2, noise).native


def harness(*arguments: str) -> int:
    """Run the command in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["harness", *arguments])
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


@pytest.mark.parametrize("net", ["edm", "pfgmpp"])
def test_a_checkpoint_and_what_is_converted_from_it_draw_the_same(
    net: str, tmp_path: Path, canary: Path
) -> None:
    path = _written(tmp_path, net, canary)
    assert harness("models", "convert", str(path), "--out", str(tmp_path / "nets")) == 0
    ours = _sample(path)
    assert ours.isfinite().all()
    assert torch.equal(ours, _sample(tmp_path / "nets" / f"{net}.safetensors"))
    assert torch.equal(ours, _sample(published.NETS[net].with_suffix(".safetensors")))
    assert not canary.exists()


@pytest.mark.parametrize("net", published.NETS)
def test_converted_files_keep_names_types_and_arguments(
    net: str, tmp_path: Path, canary: Path
) -> None:
    weights, description = convert(_written(tmp_path, net, canary))
    facts, tensors = published.weights(net)
    about = json.loads(description.read_text())
    assert about["class_name"] == facts["class_name"]
    assert about["init_kwargs"] == facts["init_kwargs"]
    assert about["attributes"]["sigma_max"] == float("inf")
    written = safetensors.torch.load_file(weights)
    assert {n: t.dtype for n, t in written.items()} == {n: t.dtype for n, t in tensors.items()}
    assert all(torch.equal(written[name], tensor) for name, tensor in tensors.items())
    weights.unlink()
    with pytest.raises(HarnessError, match=rf"{net}\.json exists: remove it, or choose another"):
        convert(tmp_path / f"{net}.{'pt' if net == 'pfgmpp' else 'pkl'}")
    assert not weights.exists()


def test_doctor_tells_what_a_file_holds(
    tmp_path: Path, canary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _written(tmp_path, "edm", canary)
    assert harness("doctor", str(path)) == 0
    printed = capsys.readouterr().out
    for words in (
        "network ema: VEPrecond",
        "size 8x8, 3 channels, label_dim 0",
        "M parameters, 150 tensors, float32",
        f"can be run: --model {path}",
        'beside it loss_fn: {"class_name": "EDMLoss", "P_mean": -1.2, "P_std": 1.2}',
    ):
        assert words in printed
    assert not canary.exists()


def test_doctor_says_why_a_file_cannot_be_run(
    tmp_path: Path, canary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "network.pt"
    path.write_bytes(published.saved({"net": {"w": torch.zeros(3)}, "step": 9}))
    assert harness("doctor", str(path)) == 0
    printed = capsys.readouterr().out
    assert "network net: class unknown" in printed
    assert "holds weights without their network" in printed
    assert "beside it step: 9" in printed
    snapshot = published.snapshot("edm", "x")
    snapshot["ema"].name = "StyleGAN"
    path.write_bytes(published.pickled(snapshot))
    assert harness("doctor", str(path)) == 0
    assert "cannot be run: unknown network class 'StyleGAN'" in capsys.readouterr().out
    del snapshot["ema"].state["_modules"]["model"].state["_modules"]["map_layer0"]
    snapshot["ema"].name = "VEPrecond"
    path.write_bytes(published.pickled(snapshot))
    assert harness("doctor", str(path)) == 0
    assert "lacks the weight model.map_layer0.bias" in capsys.readouterr().out
    path.write_bytes(hostile.any_program("eval", str(canary))[0])
    assert harness("doctor", str(path)) == 2
    assert "it names 'builtins.eval'" in capsys.readouterr().err
    assert not canary.exists()


def test_doctor_reads_safetensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = published.NETS["pfgmpp"].with_suffix(".safetensors")
    assert harness("doctor", str(weights)) == 0
    printed = capsys.readouterr().out
    assert "network samp_pfgmpp: EDMPrecond" in printed
    assert "can be run" in printed
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(weights.read_bytes())
    assert harness("doctor", str(alone)) == 0
    assert "needs alone.json beside it" in capsys.readouterr().out
    alone.write_bytes(b"nothing")
    assert harness("doctor", str(alone)) == 2
    assert harness("doctor", str(tmp_path)) == 2
    assert "holds no run: there is no run.json in it" in capsys.readouterr().err
