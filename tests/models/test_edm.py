from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.engine.ensemble import Ensemble
from harness.engine.noise import NoiseStreams
from harness.engine.resolve import resolve
from harness.models.edm.build import build, load_weights
from harness.models.edm.edm_model import EdmLevels, EdmModel
from harness.models.load import find, load

NETS = Path(__file__).parent.parent / "golden" / "restart" / "nets"


def opened(name: str) -> Any:
    return load(str(NETS / f"{name}.safetensors"))


@pytest.fixture(scope="module")
def conditional() -> EdmModel:
    return opened("samp_edm_cond")


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A network's file with its description, to be spoilt."""
    for suffix in (".json", ".safetensors"):
        shutil.copy(NETS / f"samp_edm{suffix}", tmp_path / f"net{suffix}")
    return tmp_path / "net.safetensors"


def draw(model: Any, sampler: str, prompts: list[str], seeds: list[int]) -> torch.Tensor:
    shape = model.latent_shape((8, 8))
    noise = NoiseStreams(seeds, shape, dtype=model.state_dtype)
    call = resolve(parse_call(sampler), {})
    return Ensemble(model).run(call, prompts, [None] * len(prompts), noise).native


def test_a_picture_does_not_depend_on_its_batch(conditional: EdmModel) -> None:
    sampler = "edm(steps=4, s_churn=10)"
    prompts = ["class 3", "", "class 0"]
    together = draw(conditional, sampler, prompts, [1, 2, 3])
    for i, prompt in enumerate(prompts):
        alone = draw(conditional, sampler, [prompt], [i + 1])
        torch.testing.assert_close(alone, together[i : i + 1], rtol=0, atol=1e-4)


def test_classes_reach_the_network(conditional: EdmModel) -> None:
    one, other = draw(conditional, "edm(steps=3)", ["class 3", "class 4"], [1, 1])
    assert (one - other).abs().max() > 0.1
    with pytest.raises(HarnessError, match="'class 0' to 'class 5'"):
        conditional.encode(["class 6"])
    with pytest.raises(HarnessError, match="takes no prompt"):
        opened("samp_edm").encode(["class 0"])


def test_the_ladder_is_cut_to_the_network(conditional: EdmModel) -> None:
    sigmas = conditional.ladder(18)
    assert (sigmas[0], sigmas[17], sigmas[18]) == (80, 0.002, 0)
    assert sigmas.dtype == torch.float64
    ve = opened("samp_ve").ladder(18, sigma_min=0.001, sigma_max=200.0)
    assert (ve[0], ve[17]) == (100, 0.02)
    with pytest.raises(HarnessError, match="sigma_min 60 must lie below sigma_max 50"):
        conditional.ladder(3, sigma_min=60.0, sigma_max=50.0)
    with pytest.raises(HarnessError, match="unknown spacing 'leading'"):
        conditional.ladder(3, spacing="leading")


def test_every_level_of_iddpm_is_one_it_knows() -> None:
    net = opened("samp_iddpm")
    sigmas = net.ladder(18)
    assert torch.isin(sigmas.float(), net.net.u).all()
    with pytest.raises(HarnessError, match="repeats a level: take fewer steps"):
        net.ladder(2000)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_few_steps_are_finite(conditional: EdmModel, steps: int) -> None:
    """The official code gives NaN at one step."""
    assert draw(conditional, f"edm(steps={steps})", ["class 1"], [0]).isfinite().all()


def test_pixels_are_cut_off_as_published(conditional: EdmModel) -> None:
    values = torch.tensor([-2.0, -1.0, 0.0, 0.9999, 1.0, 2.0], dtype=torch.float64)
    pixels = conditional.decode(values.reshape(1, 1, 2, 3))
    assert pixels.shape == (1, 3, 2, 3)
    assert pixels[0, 2].flatten().tolist() == [0, 0, 128, 255, 255, 255]
    assert conditional.decode(torch.full((1, 3, 1, 1), 0.0039)).flatten().tolist() == [128] * 3


def test_what_it_cannot_do_is_refused(conditional: EdmModel) -> None:
    with pytest.raises(HarnessError, match="8x8, not 16x16"):
        conditional.latent_shape((16, 16))
    with pytest.raises(HarnessError, match="no negative prompt"):
        conditional.encode_negative(["dog"])
    assert conditional.encode_negative([None]) is None
    x, sigma = torch.zeros(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
    with pytest.raises(HarnessError, match="one sigma for a picture"):
        conditional.network(x, sigma, sigma, conditional.encode(["class 0"]))
    with pytest.raises(HarnessError, match="takes no LoRA"):
        conditional.variants({"weak": {"lora": "x", "scale": 1.0}})
    with pytest.raises(HarnessError, match="not in float64"):
        load(str(NETS / "samp_edm.safetensors"), dtype="float64")
    with pytest.raises(HarnessError, match="unknown parameter 'vae'"):
        load(str(NETS / "samp_edm.safetensors") + "(vae=x)")


def test_what_is_known_before_weights_are_read() -> None:
    entry = find(str(NETS / "samp_edm_cond.safetensors"))
    assert (entry.size, entry.classes, entry.unconditional, entry.dtype) == (
        (8, 8),
        6,
        False,
        "float32",
    )
    assert torch.equal(entry.ladders({}).ladder(18), opened("samp_edm_cond").ladder(18))


def test_half_precision_is_for_networks_trained_in_it(stored: Path) -> None:
    about = json.loads(stored.with_suffix(".json").read_text())
    about["init_kwargs"]["use_fp16"] = True
    stored.with_suffix(".json").write_text(json.dumps(about))
    assert find(str(stored)).dtype is None
    sampler = "edm(steps=3, sigma_max=2.0)"
    half = draw(load(str(stored), dtype="bfloat16"), sampler, [""], [0])
    full = draw(load(str(stored)), sampler, [""], [0])
    assert 1e-5 < (half - full).abs().max() < 0.2


def test_the_revision_follows_weights_and_description(stored: Path) -> None:
    first = find(str(stored)).revision()
    assert find(str(stored)).revision() == first
    weights = load_file(stored)
    save_file({name: value + 1e-3 for name, value in weights.items()}, stored)
    second = find(str(stored)).revision()
    about = json.loads(stored.with_suffix(".json").read_text())
    about["init_kwargs"]["dropout"] = 0.5
    stored.with_suffix(".json").write_text(json.dumps(about))
    assert len({first, second, find(str(stored)).revision()}) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "needs net.json beside it"),
        ("{", "cannot read .*net.json"),
        ("[]", "net.json must hold"),
        ('{"class_name": "EDMPrecond"}', "net.json must hold"),
        ('{"class_name": "EDM", "init_kwargs": {}}', "unknown network class 'EDM'"),
    ],
)
def test_descriptions_that_are_none_are_named(stored: Path, text: str | None, words: str) -> None:
    stored.with_suffix(".json").unlink()
    if text is not None:
        stored.with_suffix(".json").write_text(text)
    with pytest.raises(HarnessError, match=words):
        find(str(stored))


def test_files_that_are_no_network_are_named(stored: Path) -> None:
    with pytest.raises(HarnessError, match=r"there is no model file nets/none\.safetensors"):
        find("nets/none.safetensors")
    with pytest.raises(HarnessError, match="a network's file"):
        find(str(stored.with_suffix(".json")))
    stored.write_bytes(b"nothing")
    with pytest.raises(HarnessError, match=r"cannot read .*net\.safetensors"):
        load(str(stored))
    shutil.copy(NETS / "samp_edm_cond.safetensors", stored)
    with pytest.raises(HarnessError, match="belong to another network"):
        load(str(stored))


def test_stored_float16_weights_compute_in_float32(stored: Path) -> None:
    save_file({name: value.half() for name, value in load_file(stored).items()}, stored)
    assert draw(load(str(stored)), "edm(steps=2)", [""], [0]).isfinite().all()


def test_levels_need_no_weights() -> None:
    about = json.loads((NETS / "samp_iddpm.json").read_text())
    with torch.device("meta"):
        net: Any = build(about["class_name"], about["init_kwargs"])
    assert EdmLevels("net", net).ladder(5)[0] == pytest.approx(80, rel=1e-2)
    assert next(net.parameters()).is_meta
    load_weights(net, load_file(NETS / "samp_iddpm.safetensors"), "net")
    assert not any(weight.is_meta for weight in net.state_dict().values())
