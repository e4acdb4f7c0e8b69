"""Writes the diffusers pipeline folder, the judge and the dual encoder from a working folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from harness.training.shapes.common import PIPELINE, WEIGHTS, arguments
from harness.training.shapes.train_unet import build, scheduler

LIMIT = 15_000_000
"""Bytes of all weights together."""


def average(path: Path) -> UNet2DConditionModel:
    """The U-Net of a kept average of weights."""
    unet = build()
    saved = torch.load(path, map_location="cpu", weights_only=True)
    unet.load_state_dict({k: v.float() for k, v in saved.items()})
    return unet.eval()


def pipeline(folder: Path, unet: UNet2DConditionModel) -> StableDiffusionPipeline:
    """The pipeline of a working folder's parts, float32."""
    return StableDiffusionPipeline(
        vae=AutoencoderTiny.from_pretrained(folder / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "text_encoder"),
        unet=unet,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def halve(path: Path) -> None:
    """Rewrites a safetensors file in half precision; it still loads as float32."""
    weights = {k: v.half() if v.is_floating_point() else v for k, v in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})


def tidy(folder: Path) -> None:
    """Readable files, no machine's paths in the configurations."""
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
            continue
        if path.suffix == ".json":
            config = json.loads(path.read_text())
            config.pop("_name_or_path", None)
            if config.get("_class_name") == "AutoencoderTiny":
                config.pop("block_out_channels", None)  # derived; it warns when read back
            path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        path.chmod(0o644)


def export_pipeline(folder: Path, target: Path, unet: UNet2DConditionModel) -> None:
    shutil.rmtree(target, ignore_errors=True)
    pipeline(folder, unet).save_pretrained(target)
    for path in target.rglob("*.safetensors"):
        halve(path)
    tidy(target)


def export_judges(folder: Path, target: Path) -> None:
    """The judge, and the dual encoder where there is one."""
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "judge.safetensors", target)
    if (folder / "dual_encoder").exists():
        shutil.copytree(folder / "dual_encoder", target / "dual_encoder", dirs_exist_ok=True)
        halve(target / "dual_encoder" / "model.safetensors")
    tidy(target)


def main() -> None:
    args = arguments(__doc__ or "", step=0, first=0)
    kept = sorted(args.out.glob("average-*.pt"))
    chosen = args.out / f"average-{args.step:06d}.pt" if args.step else kept[-1]
    target = args.out / "first" / "pipeline" if args.first else PIPELINE
    export_pipeline(args.out, target, average(chosen))
    if not args.first:
        export_judges(args.out, WEIGHTS)
    size = sum(p.stat().st_size for f in (target, WEIGHTS) for p in f.rglob("*.safetensors"))
    print(f"{chosen.name} -> {target}; all weights {size / 1e6:.1f} MB of {LIMIT / 1e6:.0f}")
    if size > LIMIT:
        raise SystemExit("too large to ship")


if __name__ == "__main__":
    main()
