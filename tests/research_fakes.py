"""Small packages with the public signatures of research repositories, whose networks are trivial and whose answers are known.

They are written as source files, as the adapters find the real ones: on the Python path. The networks see a bright dot (or a plane) in the
tensors they are given and answer in their own conventions, which are those of the repositories: pixel centres at whole numbers for
CoTracker, TAPIP3D, MVTracker and SpatialTracker, at +0.5 for TAPIR. Those of geometry are in `research_fakes_geometry.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch

COTRACKER = {
    "cotracker/__init__.py": "",
    "cotracker/models/__init__.py": "",
    "cotracker/models/build_cotracker.py": """
    import torch
    from torch import nn

    class Net(nn.Module):
        # Follows the brightest place of each frame from the query's frame on; earlier frames stay at the query, as in the real network.
        def __init__(self, offline, window_len):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))
            self.model_resolution = (48, 64)
            self.offline, self.window_len = offline, window_len

        def forward(self, video, queries, iters=4):
            assert iters == 6 and (self.offline or video.shape[1] >= self.window_len)
            light = video[0].mean(1)
            height, width = light.shape[-2:]
            weight = (light - 100).clamp_min(0) ** 2
            y = (weight.sum(2) * torch.arange(height)).sum(1) / weight.sum((1, 2))
            x = (weight.sum(1) * torch.arange(width)).sum(1) / weight.sum((1, 2))
            place = torch.stack([x, y], 1)
            moved = place[:, None] + queries[0, :, 1:] - place[queries[0, :, 0].long()]
            later = torch.arange(len(light))[:, None] >= queries[0, :, 0]
            xy = torch.where(later[..., None], moved, queries[0, :, 1:])
            return xy[None], later[None] * 0.9 + 0.05, later[None] * 0.7 + 0.1, None

    def build_cotracker(checkpoint=None, offline=True, window_len=16, v2=False):
        return Net(offline, window_len)
    """,
}

TAPNET = {
    "tapnet/__init__.py": "",
    "tapnet/torch/__init__.py": "",
    "tapnet/torch/tapir_model.py": """
    import torch
    from torch import nn

    class TAPIR(nn.Module):
        def __init__(self, pyramid_level=1, extra_convs=True):
            super().__init__()
            self.torch_pips_mixer = nn.Module()
            self.torch_pips_mixer.linear = nn.Linear(388 + (pyramid_level + 2) * 49, 1)
            if extra_convs:
                self.extra_convs = nn.Linear(1, 1)

        def forward(self, video, query_points, query_chunk_size=64):
            assert video.shape[2:] == (256, 256, 3) and video.min() >= -1.001 and video.max() <= 1.001
            light = (video[0].mean(-1) + 0.2).clamp_min(0) ** 2
            centre = torch.arange(256) + 0.5
            y = (light.sum(2) * centre).sum(1) / light.sum((1, 2))
            x = (light.sum(1) * centre).sum(1) / light.sum((1, 2))
            place = torch.stack([x, y], 1)
            start = query_points[0]
            tracks = place[None] + (start[:, [2, 1]] - place[start[:, 0].long()])[:, None]
            logit = torch.zeros(tracks.shape[:2])
            logit[:, 0], logit[:, 1], logit[:, 2] = -4.0, 4.0, 4.0
            unsure = torch.full_like(logit, -4.0)
            unsure[:, 2] = 4.0
            return {"tracks": tracks[None], "occlusion": logit[None], "expected_dist": unsure[None]}
    """,
}

MVTRACKER = {
    "mvtracker/__init__.py": "",
    "mvtracker/models/__init__.py": "",
    "mvtracker/models/core/__init__.py": "",
    "mvtracker/models/core/mvtracker/__init__.py": "",
    "mvtracker/models/core/mvtracker/mvtracker.py": """
    import torch
    from torch import nn

    class MVTracker(nn.Module):
        def __init__(self, sliding_window_len, **settings):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))
            self.S = sliding_window_len
    """,
    "mvtracker/models/evaluation_predictor_3dpt.py": """
    import torch

    def brightest(rgbs, depths, intrs, extrs):
        # Where the bright dot is in the world at each moment, from the first camera, pixel centres at whole numbers.
        places = []
        for image, depth, K, pose in zip(rgbs, depths, intrs, extrs):
            weight = (image.mean(0) - 100).clamp_min(0) ** 2
            y = (weight.sum(1) * torch.arange(weight.shape[0])).sum() / weight.sum()
            x = (weight.sum(0) * torch.arange(weight.shape[1])).sum() / weight.sum()
            z = depth[0, int(y.round()), int(x.round())]
            point = torch.linalg.inv(K) @ torch.stack([x, y, torch.ones(())]) * z
            places.append(pose[:3, :3].T @ (point - pose[:3, 3]))
        return torch.stack(places)

    class EvaluationPredictor(torch.nn.Module):
        def __init__(self, multiview_model, interp_shape, grid_size, n_grids_per_view, n_iters):
            super().__init__()
            self.model = multiview_model

        def forward(self, rgbs, depths, query_points_3d, intrs, extrs):
            assert rgbs.max() > 100 and rgbs.shape[2] >= self.model.S and extrs.shape[-2:] == (3, 4)
            place = brightest(rgbs[0, 0], depths[0, 0], intrs[0, 0], extrs[0, 0])
            start = query_points_3d[0]
            tracks = place[:, None] + start[:, 1:] - place[start[:, 0].long()]
            later = torch.arange(len(place))[:, None] >= start[:, 0]
            return {"traj_e": tracks[None] * later[None, ..., None], "vis_e": None, "vis_e_as_prob": later[None] * 0.8}
    """,
}

SPATIALTRACKER = {
    "models/__init__.py": "",
    "models/spatracker/__init__.py": "",
    "models/spatracker/predictor.py": "",
    "models/spatracker/models/__init__.py": "",
    "models/spatracker/models/build_spatracker.py": """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, rgbds, queries, iters, wind_S):
            places = []
            for frame in rgbds[0]:
                weight = (frame[:3].mean(0) - 100).clamp_min(0) ** 2
                y = (weight.sum(1) * torch.arange(weight.shape[0])).sum() / weight.sum()
                x = (weight.sum(0) * torch.arange(weight.shape[1])).sum() / weight.sum()
                places.append(torch.stack([x, y, frame[3, int(y.round()), int(x.round())]]))
            place = torch.stack(places)
            start = queries[0]
            tracks = place[:, None] + start[:, 1:] - place[start[:, 0].long()]
            later = torch.arange(len(place))[:, None] >= start[:, 0]
            return tracks[None] * later[None, ..., None], None, later[None] * 0.8

    def build_spatracker_from_cfg(checkpoint=None, seq_length=8):
        return Net()
    """,
}

TAPIP3D = {
    "utils/__init__.py": "",
    "utils/common_utils.py": """
    import torch

    def batch_unproject(depth, K, poses):
        # (1, T, 3, h, w) world points of whole-number pixels.
        height, width = depth.shape[-2:]
        y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
        rays = torch.einsum("btij,hwj->bthwi", torch.linalg.inv(K), torch.stack([x, y, torch.ones_like(x)], -1))
        local = rays * depth[..., None] - poses[:, :, None, None, :3, 3]
        return torch.einsum("btji,bthwj->btihw", poses[..., :3, :3], local)
    """,
    "models/__init__.py": """
    from types import SimpleNamespace
    import torch
    from utils.common_utils import batch_unproject

    class Context(SimpleNamespace):
        def time_slice(self, start, end):
            return Context(path=self.path[start:end], pixel=self.pixel[start:end], offset=self.offset)

    class Net(torch.nn.Module):
        # Goes to the bright dot's place in every iteration, keeping the query's distance from it; each iteration adds 1 to the visibility.
        seq_len, norm_mode, norm_scale, image_size = 4, "isotropic", 2.0, (64, 96)

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        @property
        def corr_processor(self):
            return self

        def set_eval_mode(self, mode):
            assert mode == "raw"

        def set_image_size(self, size):
            self.image_size = size

        def encode_rgbs(self, rgb):
            assert 0 <= rgb.min() and rgb.max() <= 1
            return rgb

        def dot(self, rgb, grid):
            weight = (rgb[0].mean(1) - 0.4).clamp_min(0) ** 2
            return (weight[:, None] * grid).sum((2, 3)) / weight.sum((1, 2))[:, None]

        def prepare_shared(self, pcds, feats, queries):
            return None

        def prepare_window(self, feats, camera_locs, pcds, queries, projector, shared_ctx):
            path = self.dot(feats, pcds[0])
            y, x = torch.meshgrid(*(torch.arange(n).float() for n in feats.shape[-2:]), indexing="ij")
            pixel = self.dot(feats, torch.stack([x, y])[None].expand(len(path), -1, -1, -1))
            return Context(path=path, pixel=pixel, offset=queries[0, :, 1:] - path[queries[0, :, 0].long()])

        def _project(self, points, intrinsics, extrinsics, mean_coords, std_coords):
            row = points[0, :, 0].long()
            world = points[0, :, 1:] / self.norm_scale * std_coords + mean_coords
            local = torch.einsum("nij,nj->ni", extrinsics[0, row, :3, :3], world) + extrinsics[0, row, :3, 3]
            flat = torch.einsum("nij,nj->ni", intrinsics[0, row], local / local[:, 2:])
            return torch.cat([flat[:, :2], local[:, 2:]], 1)[None]

        def _forward_window_iter(self, coords, visibs, projector, corr_ctx, track_mask):
            path = corr_ctx.path
            rows = torch.arange(len(path)).float()[:, None]
            assert (projector(torch.cat([rows, path], 1)[None])[0, :, :2] - corr_ctx.pixel).abs().max() < 0.01
            return [(path[:, None] + corr_ctx.offset)[None] + 0 * coords], visibs + 1

        def forward(self, rgb_obs, depth_obs, intrinsics, extrinsics, query_point, num_iters, mode, depth_roi):
            path = self.dot(rgb_obs, batch_unproject(depth_obs, intrinsics, extrinsics)[0])
            start = query_point[0]
            coords = path[:, None] + start[:, 1:] - path[start[:, 0].long()]
            later = torch.arange(len(path))[:, None] >= start[:, 0]
            return SimpleNamespace(coords=(coords * later[..., None])[None], visibs=torch.where(later, 2.0, -9.0)[None]), []

    class Stepwise(Net):
        # Each iteration goes a part of the way to the dot, is pulled by the frames before and after, and by how visible the point is thought to
        # be: whatever a window starts from, and whatever is changed between iterations, is in the result. forward runs windows as the release.
        def _forward_window_iter(self, coords, visibs, projector, corr_ctx, track_mask):
            aim = (corr_ctx.path[:, None] + corr_ctx.offset)[None]
            around = (torch.cat([coords[:, :1], coords[:, :-1]], 1) + torch.cat([coords[:, 1:], coords[:, -1:]], 1)) / 2
            moved = coords + 0.3 * (aim - coords) + 0.3 * (around - coords) + 0.002 * visibs[..., None]
            return [moved], visibs + 1.5 + (aim - coords).norm(dim=-1)

        def forward(self, rgb_obs, depth_obs, intrinsics, extrinsics, query_point, num_iters, mode, depth_roi):
            times, half, frame, clouds = rgb_obs.shape[1], self.seq_len // 2, query_point[0, :, 0], batch_unproject(depth_obs, intrinsics, extrinsics)
            assert times % half == 0 and mode == "inference" and num_iters == 6
            coords, visibs = query_point[:, None, :, 1:].repeat(1, times, 1, 1), torch.zeros(1, times, len(frame))
            feats, eyes = self.encode_rgbs(rgb_obs), torch.linalg.inv(extrinsics)[..., :3, 3]
            for end in range(self.seq_len, times + 1, half):
                start, mine, old = end - self.seq_len, frame < end, frame < end - half
                kept = depth_obs[0, start:end] <= depth_roi[1]
                points = clouds[0, start:end].permute(0, 2, 3, 1)[kept]
                mean, std = points.mean(0)[None], (points - points.mean(0)).square().mean().sqrt().expand(1, 3)
                normal = torch.cat([query_point[..., :1], (query_point[..., 1:] - mean) / std * self.norm_scale], -1)[:, mine]
                project = lambda x: self._project(x, intrinsics, extrinsics, mean, std)
                cloud = (clouds - mean[..., None, None]) / std[..., None, None] * self.norm_scale
                shared = self.prepare_shared(pcds=clouds, feats=feats, queries=query_point[:, mine])
                ctx = self.prepare_window(feats, (eyes - mean) / std, cloud, normal, project, shared).time_slice(start=start, end=end)
                xyz = torch.cat([coords[:, start : start + half], coords[:, start + half - 1 : start + half].repeat(1, half, 1, 1)], 1)
                seen = torch.cat([visibs[:, start : start + half], visibs[:, start + half - 1 : start + half].repeat(1, half, 1)], 1)
                xyz = torch.where(old[:, None], xyz, query_point[:, None, :, 1:])[:, :, mine]
                xyz, seen = (xyz - mean) / std * self.norm_scale, torch.where(old, seen, 0.0)[..., mine]
                for _ in range(num_iters):
                    late = lambda x: project(torch.cat([x[..., :1] + start, x[..., 1:]], -1))
                    (xyz,), seen = self._forward_window_iter(xyz, seen, late, ctx, torch.ones(1, int(mine.sum()), dtype=torch.bool))
                coords[:, start:end, mine], visibs[:, start:end, mine] = xyz / self.norm_scale * std + mean, seen
            return SimpleNamespace(coords=coords, visibs=visibs), []
    """,
    "models/point_tracker_3d.py": "",
}


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, package: dict[str, str]) -> Path:
    """Write `package` into `folder`, put it on the Python path, and make a weights folder for the adapters; returns the latter."""
    from fourfold.priors.foundation.checkout import research_module

    for name, text in package.items():
        path = folder / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    for name in {n.partition("/")[0] for n in package}:
        for known in [m for m in sys.modules if m.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, known)
    research_module.cache_clear()
    monkeypatch.syspath_prepend(str(folder / "code"))
    weights = folder / "weights"
    weights.mkdir()
    monkeypatch.setenv("FOURFOLD_WEIGHTS", str(weights))
    return weights


def save_state(path: Path, **tensors: torch.Tensor) -> None:
    """A torch file with these tensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, path)
