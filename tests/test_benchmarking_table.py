"""bench table and bench ablation: end to end at a tiny size, what is absent, what fails, what may not be compared, and orderings."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from fourfold.benchmarking import ablation, table
from fourfold.benchmarking.basketball import choose, four_cameras
from fourfold.benchmarking.cases import case_names, find_case
from fourfold.benchmarking.measure import KEYS
from fourfold.benchmarking.pages import markdown, write_section
from fourfold.benchmarking.table import TableOptions, bench_table
from fourfold.benchmarking.taxonomy import by_axes
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.capture.synthetic.rigs import look_at
from fourfold.cli import main
from fourfold.errors import FourfoldError
from fourfold.evaluation.protocols.catalogue import find_protocol
from fourfold.recipes import all_ablations, find_recipe
from fourfold.recipes.exact import EXACT

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "recompute_metrics.py"


def _recompute(run: Path) -> float:
    spec = importlib.util.spec_from_file_location("recompute_metrics", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main(run)


def test_a_generated_capture_from_end_to_end(tmp_path, capfd):
    generate("casual", tmp_path / "data" / "synth_casual", options=SyntheticOptions(frames=6, width=64, height=48, supersample=1, tracks=16))
    words = ["bench", "table", "synth_casual", "--data", str(tmp_path / "data"), "--recipes", "splat3d", "--quality", "draft"]
    words += ["--budget", "20s", "-o", str(tmp_path / "out"), "--json"]
    capfd.readouterr()
    assert main(words) == 0
    result = json.loads(capfd.readouterr().out)
    (row,) = result["rows"]
    assert result["name"] == "synth_casual"
    assert (row["recipe"], row["source"], row["seed"]) == ("splat3d", "ours", 0)
    assert set(KEYS) <= row["metrics"].keys() and row["seconds"] > 0 and row["gaussians"] > 0
    assert row["metrics"]["lpips"] is None and "lpips-alex" in row["unavailable"]["lpips"]
    assert row["metrics"]["psnr"] > 5 and row["metrics"]["epe_3d"] > 0 and row["device"] and row["commit"]
    run = Path(row["runs"][0]["run"])
    assert _recompute(run) < 1e-4
    capfd.readouterr()  # what the script said
    assert json.loads((tmp_path / "out" / "synth_casual.json").read_text())["rows"] == result["rows"]
    assert "data:image/jpeg;base64," in (tmp_path / "out" / "synth_casual.html").read_text()
    assert "| synth_casual | **splat3d** | 0 |" in (tmp_path / "out" / "synth_casual.md").read_text()
    before = (run / "report.json").stat().st_mtime_ns
    assert main(words) == 0
    assert json.loads(capfd.readouterr().out)["rows"] == result["rows"]
    assert (run / "report.json").stat().st_mtime_ns == before


def test_a_failing_run_is_a_row_with_its_error(tmp_path, capfd):
    (tmp_path / "nvidia_balloon1").mkdir()
    capfd.readouterr()
    words = [
        "bench",
        "table",
        "nvidia_balloon1",
        "--data",
        str(tmp_path),
        "--quality",
        "draft",
        "--budget",
        "20s",
        "-o",
        str(tmp_path / "out"),
        "--json",
    ]
    assert main(words) == 1
    result = json.loads(capfd.readouterr().out)
    ours = [row for row in result["rows"] if row["source"] == "ours"]
    assert ours and all("failed with exit code 2" in row["error"] and row["metrics"]["psnr"] is None for row in ours)
    assert sum(row["source"] == "published" for row in result["rows"]) == 5


@pytest.mark.parametrize("name", [n for n in case_names() if not n.startswith("synth_")])
def test_without_data_the_table_tells_how_to_get_it(name, tmp_path):
    result = bench_table(name, TableOptions(None, tmp_path))
    assert result["missing"] and result["how_to_get"]
    assert all(row["source"] == "published" for row in result["rows"])
    text = markdown(result)
    assert all(f"| {dataset} | ours |" in text for dataset in result["missing"]) and "get it from" in text


def test_a_section_is_written_in_its_place(tmp_path):
    first, second = (bench_table(name, TableOptions(None, tmp_path)) for name in ("nvidia_balloon1", "dnerf_mutant"))
    file = tmp_path / "results.md"
    file.write_text("# Results\n\nBy hand.\n")
    for result in (first, second):
        write_section(result, file)
    text = file.read_text()
    write_section({**first, "title": "Another title"}, file)
    assert file.read_text() == text.replace(first["title"], "Another title") != text
    assert text.startswith("# Results\n\nBy hand.\n") and text.count("<!-- begin") == 2


def test_names_are_checked(tmp_path):
    with pytest.raises(FourfoldError, match="no benchmark 'nothing'"):
        find_case("nothing")
    with pytest.raises(FourfoldError, match="no recipe 'nothing'"):
        bench_table("nvidia_balloon1", TableOptions(None, tmp_path, recipes=("nothing",)))
    for name in case_names():
        for place in find_case(name).places:
            find_protocol(place.protocol)


def _measured(size, gain=lambda task: 0.0):
    """A stand-in of `measure.measured` with made-up figures."""

    def fake(task):
        protocol = find_protocol(task.protocol)
        metrics = {**dict.fromkeys(KEYS), "psnr": 22.0 + gain(task), "ssim": 0.8, "psnr_dynamic": 18.0 + gain(task)}
        variants = {m.key: m.variant for m in protocol.measures}
        facts = {"variants": variants, "size": size, "as_published": True, "images": 2, "recipe_used": "x", "quality": "normal"}
        return {"metrics": metrics, "seconds": 1.0, "gaussians": 10, "command": task.command, "run": str(task.folder), **facts}

    return fake


@pytest.mark.parametrize(("size", "comparable"), [([480, 270], True), ([240, 135], False)])
def test_differences_are_taken_only_at_the_published_size(tmp_path, monkeypatch, size, comparable):
    (tmp_path / "nvidia_balloon1").mkdir()
    monkeypatch.setattr(table, "measured", _measured(size))
    result = bench_table("nvidia_balloon1", TableOptions(tmp_path, tmp_path, recipes=("splat3d",)))
    row = result["rows"][0]
    dynamic_nerf = next(o for o in row["against_published"] if o["method"] == "DynamicNeRF")
    if comparable:
        assert dynamic_nerf["difference"] == {"psnr": pytest.approx(22.0 - 22.36)} and not dynamic_nerf["refused"]
    else:
        assert not dynamic_nerf["difference"] and "240 x 135, published at 480 x 270" in dynamic_nerf["refused"]["psnr"]


def test_folds_are_averaged(tmp_path, monkeypatch):
    (tmp_path / "pose2sim_multiperson").mkdir()
    monkeypatch.setattr(table, "measured", _measured([320, 180], lambda task: float((task.options.holdout or "cam00")[-1])))
    (row,) = bench_table("pose2sim_multiperson", TableOptions(tmp_path, tmp_path, recipes=("splat3d",)))["rows"]
    assert row["metrics"]["psnr"] == pytest.approx(22 + 2.5) and len({r["run"] for r in row["runs"]}) == 4


def test_ablations_are_found_and_are_recipes():
    assert find_recipe("sharptimegs/lifespan_off") is all_ablations()["sharptimegs"]["lifespan_off"]
    with pytest.raises(FourfoldError, match="choose one of sharptimegs/"):
        find_recipe("sharptimegs/nothing")
    with pytest.raises(FourfoldError, match="choose one of splat3d/exact_cameras, splat3d/exact_depth, splat3d/exact_masks, splat3d/full"):
        find_recipe("splat3d/nothing")
    with pytest.raises(FourfoldError, match="there are no ablations of 'splat3d'"):
        ablation.plan_of("splat3d")
    for name, variants in all_ablations().items():
        assert variants["full"].name == name
        if set(variants) - {"full", "as_published", *EXACT}:
            plan = ablation.plan_of(name)
            assert plan.orderings and all(c in case_names() for c in plan.captures)


def test_orderings_are_judged_in_pairs(tmp_path, monkeypatch):
    generate("dense_rig", tmp_path / "synth_dense_rig", options=SyntheticOptions(frames=1, width=16, height=16, supersample=1, tracks=16))
    gains = {"full": 0.5, "lifespan_off": 0.0, "densification_off": 0.9}
    monkeypatch.setattr(table, "measured", _measured([16, 16], lambda task: gains[task.options.recipe.partition("/")[2]]))
    options = TableOptions(tmp_path, tmp_path / "out", seeds=3)
    result = ablation.bench_ablation("sharptimegs", options, ("synth_dense_rig",), tuple(gains))
    judged = {o["worse"]: o for o in result["orderings"]}
    assert judged["lifespan_off"] == {
        **{"better": "full", "worse": "lifespan_off", "metric": "psnr_dynamic", "pairs": 3, "wins": 3},
        **{"mean_gain": pytest.approx(0.5), "holds": True, "p": 0.125},
    }
    assert judged["densification_off"]["holds"] is False and judged["densification_off"]["p"] == 1.0
    assert {row["recipe"] for row in result["rows"] if row["source"] == "published"} == {
        "full: full",
        "lifespan_off: w/o r",
        "densification_off: w/o densification",
    }
    assert "does not hold, better in 0 of 3 pairs, by -0.400" in markdown(result)


@pytest.mark.parametrize(("wins", "losses"), [(3, 0), (5, 2), (0, 4), (7, 7)])
def test_the_sign_test_is_the_binomial_one(wins, losses):
    assert ablation.sign_test(wins, losses) == pytest.approx(binomtest(wins, wins + losses, alternative="greater").pvalue)
    assert ablation.sign_test(0, 0) is None


def test_four_cameras_stand_90_degrees_apart(tmp_path):
    azimuth = np.radians([0, 10, 44, 60, 91, 100, 179, 200, 271, 300])
    eye = np.stack([3 * np.sin(azimuth), -1.5 + 0.1 * np.cos(7 * azimuth), -3 * np.cos(azimuth)], -1)
    poses = look_at(eye, np.zeros((10, 3)))
    train, test = choose(poses)
    assert sorted(train) == [0, 4, 6, 8] and test == 2
    assert four_cameras(tmp_path, tmp_path) is None
    (tmp_path / "panoptic_basketball" / "ims").mkdir(parents=True)
    meta = {
        "w": 8,
        "h": 8,
        "k": [[np.eye(3).tolist()] * 10],
        "w2c": [poses.tolist()],
        "fn": [[f"{c}/0.jpg" for c in range(10)]],
        "cam_id": [list(range(10))],
    }
    (tmp_path / "panoptic_basketball" / "train_meta.json").write_text(json.dumps(meta))
    made = four_cameras(tmp_path, tmp_path / "made")
    assert made is not None and sorted(json.loads((made / "train_meta.json").read_text())["cam_id"][0]) == [0, 4, 6, 8]
    assert (
        json.loads((made / "test_meta.json").read_text())["fn"] == [["2/0.jpg"]]
        and (made / "ims").resolve() == (tmp_path / "panoptic_basketball" / "ims").resolve()
    )


def test_a_run_knows_its_command(tmp_path):
    case = find_case("nvidia_balloon1")
    (task,) = table.plan(case, case.places[0], [tmp_path / "nvidia_balloon1"], "splat3d", 2, TableOptions(tmp_path, tmp_path / "out", budget=60.0))
    assert "--recipe splat3d" in task.command and "--seed 2" in task.command and "--time-budget 60s" in task.command
    assert replace(task, protocol="plain").command == task.command


def test_results_along_the_axes_of_the_taxonomy(tmp_path):
    """Published scenes averaged by hand, and ours: seeds first, then scenes; a place of which a scene is missing says nothing."""
    published = bench_table("letcamsgo", TableOptions(None, tmp_path))
    rows = {(r["axis"], r["place"], r["recipe"]): r for r in published["by_axes"]}
    found = rows["baseline dynamics", "high", "Sparse dynamic cameras"]
    each = {r["dataset"]: r["metrics"]["psnr_dynamic"] for r in published["rows"] if r["recipe"] == "Sparse dynamic cameras"}
    assert found["scenes"] == ["Lunch", "Play"] and found["metrics"]["psnr_dynamic"] == pytest.approx((each["Lunch"] + each["Play"]) / 2)
    low = rows["baseline dynamics", "low", "Sparse dynamic cameras"]["metrics"]["psnr_dynamic"]
    assert low == pytest.approx((each["Blackboard"] + each["Bench"] + each["Walking"]) / 3)
    assert {axis for axis, _, _ in rows} == {"subject motion", "camera orientation", "camera motion", "baseline dynamics"}
    assert rows["camera motion", "backward", "FTGS*"]["metrics"]["psnr"] == 18.66
    ours = [
        {"source": "ours", "recipe": "x", "dataset": d, "metrics": {"psnr": v}}
        for d, v in (("Lunch", 1.0), ("Lunch", 3.0), ("Play", 6.0), ("Bench", 9.0))
    ]
    axes = {"Lunch": {"size": "small"}, "Play": {"size": "small"}, "Bench": {"size": "large"}, "Walking": {"size": "large"}}
    assert [(r["place"], r["metrics"]["psnr"]) for r in by_axes(ours, axes)] == [("small", 4.0)]
    assert "| baseline dynamics: high | Lunch, Play | Sparse dynamic cameras |" in markdown(published)
