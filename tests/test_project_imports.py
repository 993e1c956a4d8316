"""Imports point up the table of the design, and importing the package loads nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "fourfold"

# Lower ranks know nothing of higher ones. `recipe` is the one file recipes/recipe.py: what a recipe is, read by those who follow it.
RANKS = {
    "errors": 0,
    "notices": 0,
    "counting": 0,
    "spent": 0,
    "threads": 0,
    "files": 1,
    "untrusted": 1,
    "interruption": 0,
    "pages": 1,
    "room": 1,
    "owner": 2,
    "earlier": 2,
    "run_config": 3,
    "geometry": 2,
    "kernels": 2,
    "capture": 3,
    "render": 3,
    "scene": 3,
    "splats": 3,
    "priors": 4,
    "initialize": 5,
    "losses": 5,
    "density": 5,
    "recipe": 6,
    "training": 7,
    "recipes": 8,
    "evaluation": 9,
    "export": 9,
    "viewer": 9,
    "live": 10,
    "options": 10,
    "long_film": 11,
    "conclude": 12,
    "pipeline": 13,
    "benchmarking": 14,
    "fleet": 14,
    "cli": 15,
    "__main__": 16,
}
# Within priors/: each folder knows those before it, and all know the files beside them (contracts, given, ...).
PRIORS = ("tracking", "cameras", "depth", "masks", "still", "rigs", "movers", "features")
PRIORS += ("multiview_tracks", "depth_alignment", "anchored_tracking", "supplied", "foundation")
FULFILS = ("anchored_tracking", "foundation")  # chooses the learned tracker of that interface
READS_RECIPE = {"initialize", "training"}
SAME_ROW = {("export", "viewer"), ("viewer", "export"), ("options", "recipe")}
USERS = {"evaluation", "export", "viewer", "live"}  # of a finished scene: they know nothing of how it was made
UNKNOWN_TO_USERS = {"initialize", "losses", "density", "training", "recipes", "recipe"}


def _folder(module: str) -> str:
    parts = module.split(".")
    if parts[1:3] == ["recipes", "recipe"]:
        return "recipe"
    return parts[1] if len(parts) > 1 else "fourfold"


def _imports(path: Path) -> list[tuple[int, str]]:
    """(line, module) of everything of ours that a file imports, also inside functions."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            module = node.module or ""
            # `from fourfold.recipes import recipe` means the submodule
            deeper = [f"{module}.{alias.name}" for alias in node.names]
            found += [(node.lineno, name if _is_module(name) else module) for name in deeper]
    return [(line, module) for line, module in found if module.split(".")[0] == "fourfold"]


def _is_module(name: str) -> bool:
    path = SOURCE.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def _may(importer: str, imported: str) -> bool:
    if imported == importer or (importer, imported) in SAME_ROW:
        return True
    if imported == "fourfold":  # the package itself: its version
        return RANKS[importer] >= RANKS["options"]
    if importer in USERS and imported in UNKNOWN_TO_USERS:
        return False
    if imported == "recipe" and importer in READS_RECIPE:
        return True
    return RANKS[imported] < RANKS[importer]


def test_every_folder_and_file_has_a_rank():
    names = {path.stem for path in SOURCE.glob("*.py")} | {path.name for path in SOURCE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert names - {"__init__"} <= RANKS.keys()


def test_imports_point_up_the_table():
    wrong: list[str] = []
    for path in sorted(SOURCE.rglob("*.py")):
        relative = path.relative_to(SOURCE)
        if relative == Path("__init__.py"):
            continue
        importer = "recipe" if relative == Path("recipes/recipe.py") else relative.parts[0].removesuffix(".py")
        wrong += [f"{relative}:{line}: {importer} imports {module}" for line, module in _imports(path) if not _may(importer, _folder(module))]
    assert not wrong, "\n".join(wrong)


def _priors_folder(module: str) -> str | None:
    parts = module.split(".")
    return parts[2] if parts[:2] == ["fourfold", "priors"] and len(parts) > 2 and (SOURCE / "priors" / parts[2]).is_dir() else None


def test_every_folder_of_priors_has_its_place():
    assert {path.name for path in (SOURCE / "priors").iterdir() if path.is_dir() and any(path.glob("*.py"))} == set(PRIORS)


def test_folders_of_priors_know_those_before_them():
    wrong: list[str] = []
    for path in sorted((SOURCE / "priors").rglob("*.py")):
        own = _priors_folder("fourfold.priors." + path.relative_to(SOURCE / "priors").parts[0].removesuffix(".py"))
        for line, module in _imports(path):
            other = _priors_folder(module)
            known = other is None or other == own or (own is not None and PRIORS.index(other) < PRIORS.index(own)) or (own, other) == FULFILS
            if not known:
                wrong.append(f"{path.relative_to(SOURCE)}:{line}: {own} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_the_rule_can_refuse():
    assert not _may("geometry", "capture")
    assert not _may("evaluation", "training")
    assert not _may("recipe", "training")
    assert not _may("losses", "fourfold")
    assert _may("training", "recipe")


@pytest.mark.parametrize(
    "code",
    [
        "import fourfold; fourfold.__version__; dir(fourfold)",
        "import fourfold.cli as c; assert c.main(['--help']) == 0",
        "import fourfold.cli as c; assert c.main(['doctor', '--help']) == 0",
        "import fourfold.cli as c; assert c.main(['reconstruct', '--help']) == 0",
    ],
)
def test_what_is_asked_often_loads_nothing_heavy(code):
    heavy = ["torch", "cv2", "pycolmap", "av", "scipy", "matplotlib", "transformers", "gsplat"]
    check = f"{code}\nimport sys; print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_the_lazy_names_are_there():
    import fourfold

    for name in ("Camera", "Capture", "FourfoldError", "Gaussians", "Render", "Run", "Scene", "rasterize", "reconstruct"):
        assert getattr(fourfold, name).__name__ == name
        assert name in dir(fourfold)
    with pytest.raises(AttributeError, match="module 'fourfold' has no attribute 'nothing'"):
        _ = fourfold.nothing
