"""Change a finished scene: crop it, part it, clean it, slow it down, join two."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from fourfold.cli.arguments import Out
from fourfold.cli.frame import Command, Result

if TYPE_CHECKING:
    from fourfold.scene.scene import Scene


@dataclass(frozen=True, kw_only=True)
class Edit(Command):
    """Write a changed scene; the edits are made in the order of this list. `fourfold export RUN --scene FILE` hands it on."""

    scene: Positional[Path]
    """A run's folder, a scene file, a .4dgs file, or a PLY, SPZ or SOG of one moment."""

    out: Out
    """Scene file to write (.safetensors)."""

    join: Path | None = None
    """Another scene, of the same kinds, that is put into this one; both lie in one world."""

    crop: tuple[float, float, float, float, float, float] | None = None
    """Box to keep, scene units: lower x y z, upper x y z."""

    drop_layer: tuple[str, ...] = ()
    """Names of layers to leave out."""

    keep_mover: tuple[int, ...] = ()
    """Numbers of movers to keep, as they are listed; the others go."""

    drop_mover: tuple[int, ...] = ()
    """Numbers of movers to leave out."""

    background_only: bool = False
    """Leave out what moves."""

    movers_only: bool = False
    """Leave out what stands still."""

    floaters: float | None = None
    """Leave out what is so many times as far from its neighbours as these are from theirs; 3 is a good number."""

    freeze: float | None = None
    """Stop time at this second."""

    speed: float | None = None
    """How fast time runs: 0.5 is slow motion."""

    def run(self) -> Result:
        from fourfold.export.scene_files import read_scene
        from fourfold.files import refuse_other_kinds
        from fourfold.scene.edits.parts import movers
        from fourfold.scene.file import save_scene

        refuse_other_kinds(self.out, "scene.safetensors")
        edited = self._edited(read_scene(self.scene))
        save_scene(edited, self.out)
        layers = {layer.name: len(layer) for layer in edited.layers}
        listed = [asdict(mover) for mover in movers(edited)[0]]
        return Result({"out": self.out, "layers": layers, "movers": listed, "seconds": list(edited.time_range)})

    def _edited(self, scene: Scene) -> Scene:
        from fourfold.errors import FourfoldError
        from fourfold.export.scene_files import read_scene
        from fourfold.scene.edits import floaters, parts, time
        from fourfold.scene.edits.joined import joined

        if self.background_only and self.movers_only:
            raise FourfoldError("--background-only and --movers-only leave nothing together: give one of both")
        if self.freeze is not None and self.speed is not None:
            raise FourfoldError("--freeze and --speed: what is frozen has no speed: give one of both")
        scene = scene if self.join is None else joined(scene, read_scene(self.join))
        scene = scene if self.crop is None else parts.cropped(scene, self.crop[:3], self.crop[3:])
        scene = parts.without_layers(scene, self.drop_layer) if self.drop_layer else scene
        scene = parts.with_movers(scene, self.keep_mover, keep=True) if self.keep_mover else scene
        scene = parts.with_movers(scene, self.drop_mover, keep=False) if self.drop_mover else scene
        scene = parts.background_alone(scene) if self.background_only else scene
        scene = parts.movers_alone(scene) if self.movers_only else scene
        scene = scene if self.floaters is None else floaters.without_floaters(scene, floaters.FloaterNumbers(apart=self.floaters))
        scene = scene if self.freeze is None else time.frozen(scene, self.freeze)
        return scene if self.speed is None else time.retimed(scene, self.speed)
