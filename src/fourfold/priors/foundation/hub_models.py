"""What the adapters of `transformers` models share: loading from a local folder, and images as these models want them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.priors.foundation import weights

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_pretrained(architecture: str, name: str, device: torch.device) -> Any:
    """The model `name` of the weights table as the class `architecture` of `transformers`, for inference on `device`.

    FourfoldError if the weights or the package are not here, the files are damaged, or tensors of this architecture are missing in them.
    """
    path = weights.require(name)
    import transformers

    said = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        kind = getattr(transformers, architecture)
        model, found = kind.from_pretrained(path, local_files_only=True, output_loading_info=True, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise FourfoldError(f"the weights in {path} cannot be read as {architecture} ({reason}): get them again") from error
    finally:
        transformers.utils.logging.set_verbosity(said)
    absent = [*found["missing_keys"], *found["mismatched_keys"]]
    if absent:
        raise FourfoldError(
            f"the weights in {path} lack {len(absent)} tensors of {architecture}, such as {sorted(map(str, absent))[0]}: get them again"
        )
    return model.eval().requires_grad_(False).to(device)


def pixels(image: NDArray[np.uint8], size: tuple[int, int], like: Tensor, mean_std: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET) -> Tensor:
    """(1, 3, *size) normalised pixels of an (H, W, 3) image, device and dtype of `like`; `size` is (height, width)."""
    values = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(like) / 255.0
    if tuple(values.shape[-2:]) != size:
        values = F.interpolate(values, size, mode="bicubic", antialias=True).clamp(0.0, 1.0)
    mean, std = (torch.tensor(part).to(like)[:, None, None] for part in mean_std)
    return (values - mean) / std


def size_for(height: int, width: int, short_side: int, multiple: int) -> tuple[int, int]:
    """(height, width) with about `short_side` pixels on the shorter side and the aspect ratio kept, both multiples of `multiple`."""
    scale = short_side / min(height, width)
    return tuple(max(multiple, math.floor(n * scale / multiple + 0.5) * multiple) for n in (height, width))  # type: ignore[return-value]


def first_parameter(model: Any) -> Tensor:
    """Tells device and dtype of `model`."""
    return next(iter(model.parameters()))
