"""EDM2's latent-space networks, adapted to the model contract."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch

from harness.models.decoder_dtype import decode_in
from harness.models.edm import latents
from harness.models.edm.edm_model import EdmModel
from harness.models.edm.edm_network import EdmNetwork
from harness.models.portions import Portions


class LatentModel(EdmModel):
    """A loaded network of latents [B, 4, R, R]; `vae` is a user's folder of the autoencoder.

    The autoencoder is loaded when the first pictures are decoded. It decodes in `decode_dtype`,
    None is float32, as published.
    """

    decode_dtype: torch.dtype | None = None

    def __init__(self, name: str, net: EdmNetwork, device: str, vae: str | None) -> None:
        super().__init__(name, net, device)
        self._vae_folder, self._portions = vae, Portions.on(self.device)

    @cached_property
    def _vae(self) -> Any:
        return latents.load_vae(latents.find_vae(self._vae_folder), self.device)

    @torch.inference_mode()
    def decode(self, native: torch.Tensor) -> torch.Tensor:
        dtype = self.decode_dtype or torch.float32
        decode_in(self._vae, dtype)
        return latents.decode(self._vae, native, dtype, self._portions)
