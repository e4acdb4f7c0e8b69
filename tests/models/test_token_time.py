"""A timestep for every patch, and attention to the text, by hooks on an SD3 transformer.

There is no reference code: these are properties that any right one has.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from harness.models.pipelines.hooks.joint_maps import joint_maps
from harness.models.pipelines.hooks.token_time import token_time
from tests.models.tiny_pipelines import stable_diffusion_3

TEXT = 9  # tokens


@pytest.fixture(scope="module")
def net() -> Any:
    return stable_diffusion_3(t5=False).transformer.eval()


def _inputs(height: int = 8, width: int = 8, batch: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(batch, *shape, generator=generator)

    return {
        "hidden_states": normal(4, height, width),
        "encoder_hidden_states": normal(TEXT, 32),
        "pooled_projections": normal(32),
    }


def _call(net: Any, given: dict[str, torch.Tensor], time: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return net(**given, timestep=time, return_dict=False)[0]


def _mapped(
    net: Any, given: dict[str, torch.Tensor], times: torch.Tensor, text_time: torch.Tensor
) -> torch.Tensor:
    with token_time(net, times, given["pooled_projections"]):
        return _call(net, given, text_time)


def _hooks(net: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


@pytest.mark.parametrize(("height", "width"), [(8, 8), (4, 12)])
def test_a_constant_map_is_the_ordinary_call(net: Any, height: int, width: int) -> None:
    given = _inputs(height, width)
    times = torch.tensor([501.0, 21.5])
    expected = _call(net, given, times)
    ours = _mapped(net, given, times[:, None, None].expand(2, height, width), times)
    # float32, outputs up to 3: a few roundings
    torch.testing.assert_close(ours, expected, atol=5e-7 * float(expected.abs().max()), rtol=0)
    assert float((expected - _call(net, given, times.flip(0))).abs().max()) > 0.1


def test_without_attention_each_patch_is_of_its_own_time() -> None:
    net = stable_diffusion_3(t5=False).transformer.eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if ".attn" in name and ("to_out" in name or "to_add_out" in name):
                parameter.zero_()
    given = _inputs()
    late, early = torch.full((2,), 30.0), torch.full((2,), 800.0)
    held = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    held[0, :, 1:3] = held[1, :, :, 2:] = True
    held = functional.interpolate(held.float(), (8, 8)).bool()
    times = torch.where(held, early[:, None, None, None], late[:, None, None, None])[:, 0]
    ours = _mapped(net, given, times, torch.full((2,), 400.0))
    one, other = _call(net, given, early), _call(net, given, late)
    expected = torch.where(held, one, other)
    torch.testing.assert_close(ours, expected, atol=5e-7 * float(expected.abs().max()), rtol=0)
    assert float((one - other).abs().max()) > 0.1


def test_times_matter_also_through_attention_and_not_across_samples(net: Any) -> None:
    given = _inputs()
    times = torch.full((2, 8, 8), 400.0)
    text = torch.full((2,), 400.0)
    times[0, :2, :2] = 900.0
    ours, plain = _mapped(net, given, times, text), _call(net, given, text)
    moved = (ours - plain).abs().amax(1)
    assert float(moved[0, 4:].min()) > 1e-5  # patches of the same time, seeing another
    assert float(moved[1].max()) < 1e-5
    alone = {key: value[:1] for key, value in given.items()}
    torch.testing.assert_close(
        _mapped(net, alone, times[:1], text[:1]), ours[:1], atol=1e-5, rtol=0
    )


def test_the_embedding_runs_once_for_each_time_of_a_sample(net: Any) -> None:
    given = _inputs()
    times = torch.full((2, 8, 8), 400.0)
    times[0, :4] = 900.0
    seen = []
    hook = net.time_text_embed.register_forward_hook(lambda m, args, out: seen.append(len(out)))
    _mapped(net, given, times, torch.full((2,), 400.0))
    hook.remove()
    assert seen == [3, 2]  # the map's, and the text's


def test_maps_are_the_text_block_of_joint_attention_renormalised(
    net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, blocks = _inputs(4, 8), []
    original = functional.scaled_dot_product_attention

    def watched(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **rest: Any) -> Any:
        if query.shape[2] > 8:  # image and text; the second attention of a block is the image's
            scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
            weights = scores.softmax(3)[1:, :, :8, 8:]
            blocks.append((weights / weights.sum(3, keepdim=True)).mean(1))
        return original(query, key, value, **rest)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", watched)
    with joint_maps(net, (4, 8), slice(-1, None)) as maps:
        _call(net, given, torch.tensor([500.0, 500.0]))
        _call(net, given, torch.tensor([1.0, 1.0]))  # not recorded
    assert maps.layers == 3
    expected = torch.stack(blocks[:3]).mean(0).transpose(1, 2).reshape(1, TEXT, 2, 4)
    torch.testing.assert_close(maps.mean, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(maps.mean.sum(1), torch.ones(1, 2, 4))


def test_no_hook_stays_and_ordinary_calls_stay_bit_for_bit(net: Any) -> None:
    given = _inputs()
    time = torch.tensor([501.0, 21.0])
    before = _call(net, given, time)

    def fail() -> None:
        with (
            token_time(net, torch.rand(2, 8, 8) * 900, given["pooled_projections"]),
            joint_maps(net, (8, 8), slice(None)),
        ):
            assert _hooks(net) > 0
            _call(net, {**given, "hidden_states": given["hidden_states"][:, :3]}, time)

    with pytest.raises(RuntimeError):
        fail()
    assert _hooks(net) == 0
    assert torch.equal(_call(net, given, time), before)
