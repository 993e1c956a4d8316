"""The moving scene as USD with ParticleField3DGaussianSplat: what stands once, what moves as time samples of the same Gaussians all along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.export.axes import metres, y_up
from fourfold.export.options import ExportOptions, moments
from fourfold.export.pictures import frame_rate
from fourfold.export.steady import steady_rows
from fourfold.files import replacing
from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.flights import stands
from fourfold.scene.scene import Scene
from fourfold.splats.convention import SH_DC, degree_of
from fourfold.splats.drawn import plain


def export_usd(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """A `.usdc`, y up; one time code is one frame. Numbers are 32-bit floating-point, and positions between samples are interpolated."""
    write_usd(out, scene, moments(scene, capture, options))


def write_usd(path: Path, scene: Scene, times: NDArray[np.float64]) -> None:
    """Write `scene` with movers sampled at `times` (T,), seconds. FourfoldError without the library usd-core."""
    try:
        from pxr import Gf, Usd, UsdGeom, UsdVol

        define: Any = UsdVol.ParticleField3DGaussianSplat.Define
    except (ImportError, AttributeError) as error:
        raise FourfoldError('USD is written through the library usd-core of 26.3 or newer: pip install "fourfold[formats]"') from error
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, metres(scene))
    rate = frame_rate(times)
    stage.SetTimeCodesPerSecond(rate)
    stage.SetStartTimeCode(0.0)
    stage.SetEndTimeCode(max(0.0, len(times) - 1.0))
    root = UsdGeom.Xform.Define(stage, "/scene")
    stage.SetDefaultPrim(root.GetPrim())
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = y_up(scene).T  # USD's vectors are rows
    root.AddTransformOp().Set(Gf.Matrix4d(*turn.flatten().tolist()))
    still, moving = [y for y in scene.layers if stands(y)], [y for y in scene.layers if not stands(y)]
    with torch.no_grad():
        for name, layers, chosen in (("still", still, times[:1]), ("moving", moving, times)):
            part = Scene(layers, scene.time_range)
            rows = steady_rows(part, chosen.tolist()) if layers else torch.zeros(0, dtype=torch.bool)
            if bool(rows.any()):
                prim = define(stage, f"/scene/{name}")
                for index, time in enumerate(chosen.tolist()):
                    _set(prim, plain(part.at(time)).select(rows), None if name == "still" else float(index))
    with replacing(path) as temporary:
        named = temporary.with_suffix(".usdc")
        stage.GetRootLayer().Export(str(named))
        named.replace(temporary)


def _set(prim: Any, g: Gaussians, code: float | None) -> None:
    """Write `g` into the prim's attributes, for ever or at a time code."""
    from pxr import Usd, Vt

    terms = 0 if g.sh_rest is None else g.sh_rest.shape[1]
    constant = ((g.color - 0.5) / SH_DC)[:, None]
    harmonics = constant if g.sh_rest is None else torch.cat([constant, g.sh_rest], dim=1)
    at = Usd.TimeCode.Default() if code is None else Usd.TimeCode(code)

    def rows(value: torch.Tensor) -> NDArray[np.float32]:
        return np.ascontiguousarray(value.numpy(), np.float32)

    prim.CreateRadianceSphericalHarmonicsDegreeAttr(degree_of(terms))
    prim.CreatePositionsAttr().Set(Vt.Vec3fArray.FromNumpy(rows(g.means)), at)
    prim.CreateScalesAttr().Set(Vt.Vec3fArray.FromNumpy(rows(g.scale)), at)
    prim.CreateOrientationsAttr().Set(Vt.QuatfArray.FromNumpy(rows(g.quat_wxyz[:, [1, 2, 3, 0]])), at)
    prim.CreateOpacitiesAttr().Set(Vt.FloatArray.FromNumpy(rows(g.opacity)), at)
    prim.CreateRadianceSphericalHarmonicsCoefficientsAttr().Set(Vt.Vec3fArray.FromNumpy(rows(harmonics.reshape(-1, 3))), at)
    reach = 3 * g.scale.amax(1, keepdim=True)
    corners = torch.stack([(g.means - reach).amin(0), (g.means + reach).amax(0)])
    prim.CreateExtentAttr().Set(Vt.Vec3fArray.FromNumpy(rows(corners)), at)
