"""More tiny random pipelines of classes that are not written out, one small function each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.conftest import TINY_SDXL
from tests.models.tiny_captured import (
    _WORDS,
    _clip_tokenizer,
    _euler_flow,
    _language_model,
    _tokenizer,
)
from tests.models.tiny_pipelines import _loud as loud
from tests.models.tiny_pipelines import _t5 as t5
from tests.models.tiny_pipelines import _vae as vae


def chroma() -> Any:
    from diffusers import ChromaPipeline, ChromaTransformer2DModel

    torch.manual_seed(0)
    encoder, pieces = t5(32)
    network = ChromaTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 4, 8),
        approximator_hidden_dim=32,
        approximator_layers=1,
        approximator_num_channels=16,
    )
    return ChromaPipeline(
        scheduler=_euler_flow(use_beta_sigmas=True),
        vae=vae(4),
        text_encoder=encoder,
        tokenizer=pieces,
        transformer=loud(network),
    )


def aura_flow() -> Any:
    from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel

    torch.manual_seed(0)
    encoder, pieces = t5(32)
    network = AuraFlowTransformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pos_embed_max_size=64,
    )
    return AuraFlowPipeline(
        tokenizer=pieces,
        text_encoder=encoder,
        vae=vae(4),
        transformer=loud(network),
        scheduler=_euler_flow(shift=1.73),
    )


def hidream() -> Any:
    """Of pictures of about a megapixel, whatever is asked for."""
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        HiDreamImagePipeline,
        HiDreamImageTransformer2DModel,
    )

    torch.manual_seed(0)
    tokenizer, (encoder, pieces) = _clip_tokenizer(), t5(16)
    network = HiDreamImageTransformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_channels=[16, 16],
        text_emb_dim=32,
        num_routed_experts=2,
        num_activated_experts=1,
        axes_dims_rope=(4, 2, 2),
        max_resolution=(128, 128),
        llama_layers=[0, 1],
    )
    return HiDreamImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(4),
        text_encoder=_long_clip(len(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=_long_clip(len(tokenizer)),
        tokenizer_2=tokenizer,
        text_encoder_3=encoder,
        tokenizer_3=pieces,
        text_encoder_4=_language_model(causal=True),
        tokenizer_4=_tokenizer(),
        transformer=loud(network),
    )


def _long_clip(vocabulary: int) -> Any:
    """A text encoder of 248 positions: the pipeline's texts are longer than CLIP's."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            hidden_size=16,
            intermediate_size=16,
            num_attention_heads=2,
            num_hidden_layers=2,
            vocab_size=vocabulary,
            projection_dim=16,
            eos_token_id=vocabulary - 1,
            max_position_embeddings=248,
        )
    ).eval()


def cogview4() -> Any:
    from diffusers import CogView4Pipeline, CogView4Transformer2DModel

    torch.manual_seed(0)
    network = CogView4Transformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        text_embed_dim=16,
        time_embed_dim=8,
        condition_dim=4,
        sample_size=8,
        rope_axes_dim=(64, 64),
    )
    return CogView4Pipeline(
        tokenizer=_tokenizer(padding_side="left"),
        text_encoder=_language_model(),
        vae=vae(4),
        transformer=loud(network),
        scheduler=_euler_flow(
            use_dynamic_shifting=True,
            base_shift=0.25,
            max_shift=0.75,
            base_image_seq_len=256,
            max_image_seq_len=4096,
            time_shift_type="linear",
        ),
    )


def kolors() -> Any:
    from diffusers import EulerDiscreteScheduler, KolorsPipeline
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel

    torch.manual_seed(0)
    encoder = ChatGLMModel(
        ChatGLMConfig(
            num_layers=2,
            padded_vocab_size=256,
            hidden_size=16,
            ffn_hidden_size=16,
            kv_channels=8,
            num_attention_heads=2,
            multi_query_attention=True,
            multi_query_group_num=1,
            add_qkv_bias=True,
            original_rope=True,
            use_cache=False,
        )
    ).eval()
    with torch.no_grad():
        for parameter in loud(encoder).parameters():  # its own are not set
            if parameter.ndim == 1:
                parameter.fill_(1.0)
    return KolorsPipeline(
        vae=vae(4),
        text_encoder=encoder,
        tokenizer=_glm_tokenizer(),
        unet=loud(_unet(16, encoder_hid_dim=16, encoder_hid_dim_type="text_proj")),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.014,
            beta_schedule="scaled_linear",
            num_train_timesteps=1100,
            steps_offset=1,
            timestep_spacing="leading",
        ),
        force_zeros_for_empty_prompt=False,
    )


def _glm_tokenizer() -> Any:
    import sentencepiece
    from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer

    folder = Path(tempfile.mkdtemp())
    text = folder / "text.txt"
    text.write_text("\n".join([" ".join(_WORDS)] * 40))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=9,
    )
    return ChatGLMTokenizer(str(folder / "tokenizer.model"))


def _unet(pooled: int, cross: int = 16, **settings: Any) -> Any:
    """A U-Net that is told sizes and a pooled text, as SDXL's is."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=pooled + 6 * 8,
        cross_attention_dim=cross,
        norm_num_groups=4,
        **settings,
    )


def lcm() -> Any:
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler, UNet2DConditionModel

    torch.manual_seed(0)
    tokenizer = _clip_tokenizer()
    network = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        norm_num_groups=4,
        time_cond_proj_dim=16,
    )
    return LatentConsistencyModelPipeline(
        vae=vae(4),
        text_encoder=_plain(len(tokenizer)),
        tokenizer=tokenizer,
        unet=loud(network),
        scheduler=LCMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", set_alpha_to_one=True
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _plain(vocabulary: int) -> Any:
    from tests.models.tiny_captured import _plain_clip

    return _plain_clip(16, vocabulary)


def playground() -> Any:
    """SDXL with EDM's scheduler, as Playground v2.5 has it."""
    from diffusers import EDMEulerScheduler, StableDiffusionXLPipeline

    made = StableDiffusionXLPipeline.from_pretrained(TINY_SDXL)
    made.scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5)
    made.register_modules(scheduler=made.scheduler)
    return made


MORE: dict[str, Callable[[], Any]] = {
    "chroma": chroma,
    "aura-flow": aura_flow,
    "cogview4": cogview4,
    "kolors": kolors,
    "lcm": lcm,
    "playground": playground,
}
