"""Tiny random pipelines of other classes, made on the spot: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.conftest import TINY_SDXL

_WORDS = ("a", "the", "cat", "dog", "red", "blue", "house", "on", "in", "tree")


def _clip(width: int, vocabulary: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            hidden_size=width,
            intermediate_size=width,
            num_attention_heads=2,
            num_hidden_layers=2,
            vocab_size=vocabulary,
            projection_dim=width,
            eos_token_id=vocabulary - 1,
        )
    )


def _t5(width: int) -> tuple[Any, Any]:
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    pieces = [*(f"▁{word}" for word in _WORDS), "▁", *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0)]
    vocabulary += [(piece, -float(i + 1)) for i, piece in enumerate(pieces)]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=256)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=width, num_layers=2, num_heads=2
    )
    return T5EncoderModel(config).eval(), tokenizer


def _vae(channels: int) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=4,
        layers_per_block=1,
        shift_factor=0.06,
        scaling_factor=1.5,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def stable_diffusion_3(t5: bool = True, **scheduler: Any) -> Any:
    """A StableDiffusion3Pipeline of 64x64 pictures."""
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )
    from transformers import CLIPTokenizer

    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(TINY_SDXL / "tokenizer")
    encoder, pieces = _t5(32) if t5 else (None, None)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pooled_projection_dim=32,
        pos_embed_max_size=12,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    return StableDiffusion3Pipeline(
        transformer=_loud(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **scheduler}),
        vae=_vae(4),
        text_encoder=_clip(16, len(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=_clip(16, len(tokenizer)),
        tokenizer_2=tokenizer,
        text_encoder_3=encoder,
        tokenizer_3=pieces,
    )


def hunyuan_dit(folder: Path, sizes: bool) -> Any:
    """A HunyuanDiTPipeline of 64x64 pictures; `sizes` as version 1.1 is told them.

    `folder` takes the tokenizer's vocabulary.
    """
    from diffusers import DDIMScheduler, HunyuanDiT2DModel, HunyuanDiTPipeline
    from transformers import BertConfig, BertModel, BertTokenizer

    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_WORDS]
    file = folder / "vocab.txt"
    file.write_text("\n".join(words))
    tokenizer = BertTokenizer(str(file), model_max_length=77)
    bert = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=77,
    )
    encoder, pieces = _t5(32)
    transformer = HunyuanDiT2DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        patch_size=2,
        sample_size=8,
        hidden_size=32,
        num_layers=4,
        mlp_ratio=2.0,
        cross_attention_dim=16,
        cross_attention_dim_t5=32,
        pooled_projection_dim=16,
        use_style_cond_and_image_meta_size=sizes,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.03,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return HunyuanDiTPipeline(
        vae=_vae(4),
        text_encoder=BertModel(bert, add_pooling_layer=False).eval(),
        tokenizer=tokenizer,
        transformer=_loud(transformer),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        text_encoder_2=encoder,
        tokenizer_2=pieces,
    )


def _loud(network: Any) -> Any:
    """The network with random weights in its last layers too, which start at zero or nearly so."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn_like(parameter) * 0.7 / parameter[0].numel() ** 0.5)
    return network
