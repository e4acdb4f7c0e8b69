"""Tiny random pipelines of classes that are not written out, one small function each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.conftest import TINY_SDXL
from tests.models.tiny_pipelines import _loud as loud
from tests.models.tiny_pipelines import _t5 as t5
from tests.models.tiny_pipelines import _vae as vae

_WORDS = ("a", "the", "red", "blue", "cat", "dog", "house", "on", "in", "tree", "cube", "table")
_EACH_TEXT = "photo of {% for m in messages %}{{ m['content'] }} {% endfor %}"
_EACH_PART = _EACH_TEXT.replace("{{ m['content'] }}", "{{ m['content'][0]['text'] }}")
SIDE = 64


def _tokenizer(chat: str = _EACH_TEXT, **settings: Any) -> Any:
    """Words, each its own token."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", "<s>", "</s>", "photo", "of", *_WORDS]
    made = Tokenizer(WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        chat_template=chat,
        **{"model_max_length": 512, **settings},
    )


def _language_model(width: int = 16, layers: int = 2, causal: bool = False) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3Model

    config = Qwen3Config(
        vocab_size=32,
        hidden_size=width,
        intermediate_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    return (Qwen3ForCausalLM if causal else Qwen3Model)(config).eval()


def _clip_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(TINY_SDXL / "tokenizer")


def _plain_clip(width: int, vocabulary: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            hidden_size=width,
            intermediate_size=width,
            num_attention_heads=2,
            num_hidden_layers=2,
            vocab_size=vocabulary,
            eos_token_id=vocabulary - 1,
        )
    ).eval()


def _euler_flow(**settings: Any) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**settings)


def flux(guided: bool = True) -> Any:
    from diffusers import FluxPipeline, FluxTransformer2DModel

    torch.manual_seed(0)
    tokenizer, (encoder, pieces) = _clip_tokenizer(), t5(32)
    network = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guided,
    )
    return FluxPipeline(
        scheduler=_euler_flow(**({"use_dynamic_shifting": True, "shift": 3.0} if guided else {})),
        vae=vae(4),
        text_encoder=_plain_clip(16, len(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=encoder,
        tokenizer_2=pieces,
        transformer=loud(network),
    )


def flux_schnell() -> Any:
    return flux(guided=False)


def flux2() -> Any:
    from diffusers import AutoencoderKLFlux2, Flux2Pipeline, Flux2Transformer2DModel

    torch.manual_seed(0)
    network = Flux2Transformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        timestep_guidance_channels=256,
        axes_dims_rope=(4, 4, 4, 4),
    )
    decoder = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    return Flux2Pipeline(
        scheduler=_euler_flow(use_dynamic_shifting=True),
        vae=decoder,
        text_encoder=_language_model(layers=31),
        tokenizer=_tokenizer(_EACH_PART),
        transformer=loud(network),
    )


def qwen_image() -> Any:
    from diffusers import AutoencoderKLQwenImage, QwenImagePipeline, QwenImageTransformer2DModel

    torch.manual_seed(0)
    network = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(8, 4, 4),
    )
    decoder = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.1] * 4,
        latents_std=[1.5] * 4,
    )
    return QwenImagePipeline(
        scheduler=_euler_flow(use_dynamic_shifting=True, shift_terminal=0.02),
        vae=decoder,
        text_encoder=_language_model(),
        tokenizer=_tokenizer(),
        transformer=loud(network),
    )


def z_image() -> Any:
    from diffusers import ZImagePipeline, ZImageTransformer2DModel

    torch.manual_seed(0)
    network = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 4, 8],
        axes_lens=[256, 32, 32],
    )
    return ZImagePipeline(
        scheduler=_euler_flow(shift=3.0),
        vae=vae(4),
        text_encoder=_language_model(),
        tokenizer=_tokenizer(),
        transformer=loud(network),
    )


def sana() -> Any:
    from diffusers import (
        AutoencoderDC,
        DPMSolverMultistepScheduler,
        SanaPipeline,
        SanaTransformer2DModel,
    )

    torch.manual_seed(0)
    network = SanaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=16,
        sample_size=8,
    )
    decoder = AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock",) * 4,
        decoder_block_types=("ResBlock",) * 4,
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        encoder_qkv_multiscales=((), (), (), ()),
        decoder_qkv_multiscales=((), (), (), ()),
        encoder_layers_per_block=(1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
    )
    scheduler = DPMSolverMultistepScheduler(
        beta_end=0.02, flow_shift=3.0, prediction_type="flow_prediction", use_flow_sigmas=True
    )
    return SanaPipeline(
        tokenizer=_tokenizer(padding_side="right"),
        text_encoder=_language_model(),
        vae=decoder,
        transformer=loud(network),
        scheduler=scheduler,
    )


def lumina2() -> Any:
    from diffusers import Lumina2Pipeline, Lumina2Transformer2DModel

    torch.manual_seed(0)
    network = Lumina2Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        hidden_size=24,
        num_layers=1,
        num_refiner_layers=1,
        num_attention_heads=3,
        num_kv_heads=1,
        multiple_of=2,
        axes_dim_rope=(4, 2, 2),
        axes_lens=(300, 64, 64),
        cap_feat_dim=16,
    )
    return Lumina2Pipeline(
        transformer=loud(network),
        scheduler=_euler_flow(shift=6.0),
        vae=vae(4),
        text_encoder=_language_model(),
        tokenizer=_tokenizer(),
    )


def pixart_sigma() -> Any:
    from diffusers import DPMSolverMultistepScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel

    torch.manual_seed(0)
    encoder, pieces = t5(32)
    network = PixArtTransformer2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        caption_channels=32,
        in_channels=4,
        cross_attention_dim=24,
        out_channels=8,
        use_additional_conditions=False,
    )
    return PixArtSigmaPipeline(
        tokenizer=pieces,
        text_encoder=encoder,
        vae=vae(4),
        transformer=loud(network),
        scheduler=DPMSolverMultistepScheduler(beta_end=0.02),
    )


def dit() -> Any:
    from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel

    torch.manual_seed(0)
    network = DiTTransformer2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=4,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,
        num_embeds_ada_norm=1000,
    )
    return DiTPipeline(
        transformer=loud(network),
        vae=vae(4),
        scheduler=DDIMScheduler(clip_sample=False),
        id2label={0: "tench", 1: "goldfish"},
    )


TINY: dict[str, Callable[[], Any]] = {
    "flux": flux,
    "flux-schnell": flux_schnell,
    "flux2": flux2,
    "qwen-image": qwen_image,
    "z-image": z_image,
    "sana": sana,
    "lumina2": lumina2,
    "pixart-sigma": pixart_sigma,
    "dit": dit,
}
