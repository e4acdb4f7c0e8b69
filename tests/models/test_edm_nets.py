from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from harness.core.errors import HarnessError
from harness.models.edm.build import build, load_weights
from harness.models.edm.layers import ResidualBlock

SMALL = {
    "img_resolution": 8,
    "img_channels": 3,
    "label_dim": 4,
    "model_type": "SongUNet",
    "model_channels": 8,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [4],
}


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_attention_is_the_formula(heads: int) -> None:
    """softmax(q k / sqrt(c)) v by hand, with channels laid out [head, channel, (q, k, v)]."""
    torch.manual_seed(0)
    block = ResidualBlock(
        24, 24, 8, heads=heads, adaptive=True, eps=1e-5, residual_scale=1, dropout=0
    )
    x = torch.randn(2, 24, 4, 4)
    with torch.no_grad():
        qkv = block.qkv(block.norm2(x)).reshape(2 * heads, 24 // heads, 3, 16)
        q, k, v = qkv.unbind(2)
        weight = (torch.einsum("nck,ncq->nqk", k, q) / (24 // heads) ** 0.5).softmax(2)
        mixed = torch.einsum("nqk,nck->ncq", weight, v).reshape(x.shape)
        torch.testing.assert_close(block._attention(x), block.proj(mixed), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["SongUNet", "DhariwalUNet"])
def test_every_weight_of_a_network_learns(kind: str) -> None:
    torch.manual_seed(0)
    net: Any = build("EDMPrecond", SMALL | {"model_type": kind})
    for name, weight in net.named_parameters():  # leave the zeros that training begins with
        torch.nn.init.normal_(weight, 1.0 if "norm" in name else 0.0, 0.1)
    out = net(torch.randn(2, 3, 8, 8), torch.tensor([0.5, 2.0]), F.one_hot(torch.tensor([1, 3]), 4))
    out.square().mean().backward()
    still = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not still


def test_labels_and_levels_reach_their_own_rows_only() -> None:
    torch.manual_seed(0)
    net: Any = build("EDMPrecond", SMALL).eval()
    x, sigma = torch.randn(3, 3, 8, 8), torch.tensor([0.5, 2.0, 40.0])
    labels = F.one_hot(torch.tensor([1, 3, 0]), 4)
    with torch.no_grad():
        together = net(x, sigma, labels)
        for i in range(3):
            alone = net(x[i : i + 1], sigma[i], labels[i : i + 1])
            torch.testing.assert_close(alone, together[i : i + 1], rtol=1e-5, atol=1e-5)


def test_half_precision_stays_close() -> None:
    torch.manual_seed(0)
    net: Any = build("EDMPrecond", SMALL | {"model_type": "DhariwalUNet"}).eval()
    half = copy.deepcopy(net)
    half.compute_in(torch.bfloat16)
    x, sigma = torch.randn(2, 3, 8, 8), torch.tensor([0.5, 2.0])
    with torch.no_grad():
        expected, found = net(x, sigma), half(x, sigma)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("EDMPrekond", {}, "unknown network class 'EDMPrekond': did you mean 'EDMPrecond'"),
        ("EDMPrecond", {"chanel_mult": [1]}, "'chanel_mult' for EDMPrecond.*'channel_mult'"),
        ("EDMPrecond", {"model_type": "UNet"}, "unknown model_type 'UNet'"),
        ("EDMPrecond", {"in_channels": 3}, "unknown argument 'in_channels'"),
        ("EDMPrecond", {"embedding_type": "sine"}, "embedding_type 'sine' is not one of"),
        ("EDMPrecond", {"encoder_type": "skip"}, "encoder_type 'skip' is not one of"),
        ("EDMPrecond", {"model_channels": 10}, "cannot build EDMPrecond"),
    ],
)
def test_wrong_descriptions_are_named(name: str, change: dict[str, Any], words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        build(name, SMALL | change)


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(HarnessError, match="img_channels"):
        build("VPPrecond", {"img_resolution": 8})


def test_weights_of_another_network_are_refused() -> None:
    net = build("EDMPrecond", SMALL)
    state = net.state_dict()
    name = "model.map_layer0.weight"
    with pytest.raises(HarnessError, match=rf"x lacks the weight {name} \(1 in all\)"):
        load_weights(net, {k: v for k, v in state.items() if k != name}, "x")
    with pytest.raises(HarnessError, match="unexpected weight more"):
        load_weights(net, state | {"more": torch.zeros(1)}, "x")
    with pytest.raises(HarnessError, match=rf"weight {name} has shape \[3\].*\[32, 8\]"):
        load_weights(net, state | {name: torch.zeros(3)}, "x")
