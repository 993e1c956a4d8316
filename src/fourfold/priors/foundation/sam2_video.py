"""Masks of prompted objects, followed through each view by SAM 2 (Ravi et al. 2024, arXiv:2408.00714)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Cameras, LongTracks, Masks, Priors, Provenance
from fourfold.priors.foundation import weights
from fourfold.priors.foundation.hub_models import first_parameter, load_pretrained, pixels
from fourfold.priors.foundation.prompts import Prompt, automatic_prompts, prompts_file, read_prompts
from fourfold.priors.foundation.video import device_here, training_times
from fourfold.priors.providers import Provider
from fourfold.priors.still.provider import classical_masks

NAMES = ("sam2-large", "sam2-small", "sam2-tiny")
_BOX_CORNERS = (2, 3)  # labels of the network's prompt encoder


@torch.no_grad()
def follow(model: Any, images: Sequence[NDArray[np.uint8]], prompts: Sequence[Prompt]) -> NDArray[np.int32]:
    """(T, H, W) id of the prompted object at each pixel, 0 where there is none; the surer one where two claim a pixel.

    Args:
        model: a `Sam2VideoModel`.
        images: T images (H, W, 3).
        prompts: of these images; `time` counts in `images`.
    """
    like, side = first_parameter(model), int(model.config.image_size)
    video = torch.cat([pixels(image, (side, side), like) for image in images])
    ids = sorted({prompt.id for prompt in prompts})
    scores = torch.stack([_scores(model, video, (images[0].shape[0], images[0].shape[1]), [p for p in prompts if p.id == i]) for i in ids], 1)
    best, who = scores.max(1)
    return torch.where(best > 0, torch.tensor(ids)[who], 0).to(torch.int32).numpy()


def _scores(model: Any, video: Tensor, size: tuple[int, int], prompts: Sequence[Prompt]) -> Tensor:
    """(T, *size) logits of one object in all frames of `video` (T, 3, S, S): from its first prompt ahead, then back."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    session = Sam2VideoInferenceSession(video, size[0], size[1], video.device, dtype=video.dtype)
    name = prompts[0].id
    for prompt in prompts:
        coordinates = prompt.points if prompt.box is None else np.concatenate([prompt.box.reshape(2, 2), prompt.points])
        labels = [*(_BOX_CORNERS if prompt.box is not None else ()), *prompt.labels.tolist()]
        # the network puts pixel centres at whole numbers of its own square image
        places = torch.from_numpy(coordinates).to(video) * (video.shape[-1] / torch.tensor([size[1], size[0]]).to(video)) - 0.5
        given = {"point_coords": places[None, None], "point_labels": torch.tensor(labels, dtype=torch.int32)[None, None]}
        session.add_point_inputs(session.obj_id_to_idx(name), prompt.time, given)
        session.obj_with_new_inputs = [name]
        model(inference_session=session, frame_idx=prompt.time)
    scores = torch.full((len(video), *size), -torch.inf)
    start = min(prompt.time for prompt in prompts)
    for order, reverse in ((range(start, len(video)), False), (range(start - 1, -1, -1), True)):
        for time in order:
            found = model(inference_session=session, frame_idx=time, reverse=reverse)
            scores[time] = F.interpolate(found.pred_masks.float(), size, mode="bilinear")[0, 0].cpu()
    return scores


def segment(capture: Capture, prompts: Sequence[Prompt], name: str, notes: tuple[str, ...] = ()) -> Masks:
    """+1 on every prompted object, -1 elsewhere, in all training images of the views with a prompt; 0 in the other views and images."""
    model = load_pretrained("Sam2VideoModel", name, device_here())
    stacks: list[NDArray[np.int8]] = []
    for view in range(capture.views):
        width, height = (int(n) for n in capture.sizes[view])
        stack, times = np.zeros((capture.times, height, width), np.int8), training_times(capture, view)
        asked = [Prompt(p.id, p.view, times.index(p.time), p.points, p.labels, p.box) for p in prompts if p.view == view]
        if asked:
            stack[times] = np.where(follow(model, [capture.image(view, t) for t in times], asked) > 0, 1, -1)
        stacks.append(stack)
    figures = {"model": name, "objects": len({p.id for p in prompts})}
    return Masks(Provenance("sam2", needs_weights=True, notes=notes, figures=figures), tuple(stacks))


def _make(capture: Capture, priors: Priors) -> list[Masks]:
    file = prompts_file(capture)
    if file is not None:
        return [segment(capture, read_prompts(file, capture), weights.first_here(*NAMES))]
    classical = classical_masks(capture, priors.require(LongTracks), priors.require(Cameras))
    prompts = automatic_prompts(classical, capture.train & capture.present)
    note = "SAM 2 follows the largest moving part of each view, the classical masks serve where there is none: point at objects in prompts.json"
    if not prompts:
        return [replace(classical, provenance=replace(classical.provenance, notes=(*classical.provenance.notes, note)))]
    followed, views = segment(capture, prompts, weights.first_here(*NAMES), (note,)), {p.view for p in prompts}
    return [replace(followed, mask=tuple((followed if v in views else classical).mask[v] for v in range(capture.views)))]


def _inputs(capture: Capture) -> str:
    file = prompts_file(capture)
    return file.read_text() if file else ""


PROVIDERS = (Provider("sam2", ("masks",), ("longtracks", "cameras"), 30, lambda _: weights.missing(*NAMES), _make, inputs=_inputs),)
