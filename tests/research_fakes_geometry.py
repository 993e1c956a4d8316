"""Fakes of research repositories for depth, point maps and matches, as in `research_fakes.py`; pixel centres of DKM are at +0.5."""

from __future__ import annotations

DEPTHS = {
    "moge/__init__.py": "",
    "moge/model/__init__.py": "",
    "moge/model/v2.py": """
    import math
    import torch

    class MoGeModel(torch.nn.Module):
        # Metric depth of a plane, read from the red channel (0 .. 1 is 0 .. 10 metres) and checked to know the field of view; dark is sky.
        @classmethod
        def from_pretrained(cls, path):
            net = cls()
            net.weight = torch.nn.Parameter(torch.load(path, weights_only=True)["model"]["weight"])
            return net

        def infer(self, image, fov_x=None, use_fp16=True):
            focal = image.shape[-1] / 2 / math.tan(math.radians(fov_x) / 2)
            assert abs(focal - 80) < 1e-3 and not use_fp16
            depth = image[0] * 10
            return {"depth": torch.where(depth > 0, depth, torch.inf), "points": None}
    """,
    "unidepth/__init__.py": "",
    "unidepth/models/__init__.py": """
    import torch

    class UniDepthV2(torch.nn.Module):
        @classmethod
        def from_pretrained(cls, folder, local_files_only=False):
            assert local_files_only
            return cls()

        def infer(self, rgb, camera=None):
            assert rgb.dtype == torch.uint8 and camera.shape == (1, 3, 3) and abs(float(camera[0, 0, 0]) - 80) < 1e-3
            depth = rgb[:1].float()[None] / 25.5
            return {"depth": depth, "confidence": torch.full_like(depth, 0.5)}
    """,
    "depth_anything_3/__init__.py": "",
    "depth_anything_3/api.py": """
    from types import SimpleNamespace
    import numpy as np
    import torch

    class DepthAnything3(torch.nn.Module):
        @classmethod
        def from_pretrained(cls, folder, local_files_only=False):
            assert local_files_only
            return cls()

        def inference(self, image, extrinsics=None, intrinsics=None):
            small = np.stack([i[1::2, 1::2, 0] for i in image]).astype(np.float32) / 25.5
            assert extrinsics is not None and extrinsics.shape == (len(image), 4, 4) and intrinsics.shape == (len(image), 3, 3)
            return SimpleNamespace(depth=small, conf=np.full_like(small, 4.0), sky=None)
    """,
}

FAMILY = {
    "dust3r/__init__.py": "",
    "dust3r/model.py": """
    import torch

    class AsymmetricCroCo3DStereo(torch.nn.Module):
        # The first image's depth is in its red channel, the second's answer is nonsense: only the first may be used.
        @classmethod
        def from_pretrained(cls, folder, local_files_only=False):
            assert local_files_only
            return cls()

        def forward(self, view1, view2):
            image = view1["img"]
            assert max(image.shape[-2:]) <= 512 and image.shape[-1] % 16 == 0 and image.shape[-2] % 16 == 0 and image.abs().max() <= 1
            z = (image[:, 0] + 1) * 5
            points = torch.stack([torch.zeros_like(z), torch.zeros_like(z), z], -1)
            return {"pts3d": points, "conf": torch.full_like(z, 5.0)}, {"pts3d_in_other_view": -points}
    """,
    "mast3r/__init__.py": "",
    "mast3r/model.py": """
    import torch
    from dust3r.model import AsymmetricCroCo3DStereo

    class AsymmetricMASt3R(AsymmetricCroCo3DStereo):
        def forward(self, view1, view2):
            answers = []
            for view in (view1, view2):
                image = view["img"]
                conf = torch.full(image.shape[2:], 4.0)[None]
                answers.append({"desc": image.permute(0, 2, 3, 1), "desc_conf": conf})
            return tuple(answers)
    """,
    "mast3r/fast_nn.py": """
    import numpy as np
    import torch

    def fast_reciprocal_NNs(a, b, subsample_or_initxy1=8, device="cuda", dist="l2", block_size=None):
        # The images are one texture, the second shifted by 32 of its pixels to the left: pixel x of the first is x - 32 there.
        step = subsample_or_initxy1
        y, x = np.mgrid[step // 2 : a.shape[0] : step, 32 + step // 2 : a.shape[1] : step].reshape(2, -1)
        return np.stack([x, y], 1), np.stack([x - 32, y], 1)
    """,
}

DKM = {
    "networks/__init__.py": "",
    "networks/dkm/__init__.py": "",
    "networks/dkm/models/__init__.py": "",
    "networks/dkm/models/dkm.py": "",
    "networks/dkm/models/model_zoo/__init__.py": "",
    "networks/dkm/models/model_zoo/DKMv3.py": """
    import torch
    from torch import nn

    class Net(nn.Module):
        # The second image is the first one moved to the right by an eighth of the padded width; nothing matches in the black frame.
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def match(self, a, b):
            assert a.shape[-1] * 3 == a.shape[-2] * 4
            y, x = torch.meshgrid(torch.linspace(-0.95, 0.95, 20), torch.linspace(-0.95, 0.7, 20), indexing="ij")
            warp = torch.stack([x, y, x + 0.25, y], -1)
            return warp, torch.full(warp.shape[:2], 0.6)

        def sample(self, warp, certainty, count):
            rows = torch.randperm(warp[..., 0].numel())[:count]
            return warp.reshape(-1, 4)[rows], certainty.reshape(-1)[rows]

    def DKMv3(weights, h, w):
        return Net()
    """,
}
