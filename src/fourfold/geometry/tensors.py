"""Arrays, lists and tuples of numbers taken where tensors are meant."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fourfold.errors import FourfoldError


def as_tensor(value: object, what: str, like: Tensor | None = None) -> Tensor:
    """`value` as a tensor: itself if it is one, numbers that are none in the dtype and on the device of `like`, or as floats.

    An array keeps its memory and its precision where there is no `like`. FourfoldError, naming `what`, if it holds no numbers.
    """
    if isinstance(value, Tensor):
        return value
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"dtype {array.dtype}")
        if not isinstance(value, np.ndarray) or array.dtype.kind != "f":
            array = array.astype(np.float32)
        tensor = torch.from_numpy(np.ascontiguousarray(array))
    except (TypeError, ValueError) as error:
        raise FourfoldError(f"{what} got a {type(value).__name__} that is no array of numbers: give a tensor, an array or numbers") from error
    return tensor if like is None else tensor.to(like)
