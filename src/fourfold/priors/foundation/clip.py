"""CLIP (Radford et al. 2021, arXiv:2103.00020): embeddings of images and texts, whose cosine the metrics CLIP-I and CLIP-T report."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.priors.foundation import weights
from fourfold.priors.foundation.hub_models import first_parameter, load_pretrained
from fourfold.priors.foundation.video import device_here

NAME = "clip-base-32"
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Clip:
    """Embeddings by the model `name`; the weights are read once. FourfoldError if they or transformers are not here."""

    def __init__(self, name: str = NAME) -> None:
        self.path = weights.require(name)
        self.model = load_pretrained("CLIPModel", name, device_here())

    @torch.no_grad()
    def image(self, image: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """(C,) embedding of unit length of an image (H, W, 3) in [0, 1]: shorter side to the network's size, bicubic, then the middle square."""
        like, side = first_parameter(self.model), int(self.model.config.vision_config.image_size)
        values = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(like)
        scale = side / min(values.shape[-2:])
        size = [max(side, round(n * scale)) for n in values.shape[-2:]]
        values = F.interpolate(values, size, mode="bicubic", antialias=True).clamp(0.0, 1.0)
        top, left = ((n - side) // 2 for n in size)
        mean, std = (torch.tensor(part).to(like)[:, None, None] for part in (_MEAN, _STD))
        square = (values[..., top : top + side, left : left + side] - mean) / std
        pooled = self.model.vision_model(pixel_values=square).pooler_output
        return F.normalize(self.model.visual_projection(pooled), dim=-1)[0].double().cpu().numpy()

    @torch.no_grad()
    def text(self, text: str) -> NDArray[np.float64]:
        """(C,) embedding of unit length of a text of up to 77 tokens; longer ones are cut."""
        from transformers import CLIPTokenizer

        try:
            tokenizer = CLIPTokenizer.from_pretrained(self.path, local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise FourfoldError(f"{self.path} lacks CLIP's tokenizer (vocab.json, merges.txt): get the weights again") from error
        longest = int(self.model.config.text_config.max_position_embeddings)
        tokens = tokenizer([text], truncation=True, max_length=longest, return_tensors="pt").to(first_parameter(self.model).device)
        pooled = self.model.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).pooler_output
        return F.normalize(self.model.text_projection(pooled), dim=-1)[0].double().cpu().numpy()
