"""Plans of `bench ablation`: published rows of several tables, ablations without an ordering, another protocol than the capture's."""

import numpy as np
import pytest
import torch

from exact_priors import exact
from fourfold.benchmarking import ablation, table
from fourfold.benchmarking.cases import find_case
from fourfold.benchmarking.pages import columns, markdown
from fourfold.benchmarking.scene_tracks import VARIANTS
from fourfold.benchmarking.table import TableOptions
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.errors import FourfoldError
from fourfold.evaluation.protocols.catalogue import find_protocol
from fourfold.evaluation.published.reader import load_published
from fourfold.recipes import all_ablations, find_recipe
from fourfold.recipes.recipe import QUALITIES

PLANNED = sorted(path.stem for path in ablation.FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", PLANNED)
def test_a_plan_names_what_exists(name):
    plan = ablation.plan_of(name)
    assert set(ablation.variants_of(plan)) <= all_ablations()[name].keys() | plan.filmed.keys()
    assert not all_ablations()[name].keys() & plan.filmed.keys() and plan.filmed.keys() <= set(ablation.variants_of(plan))
    for part in plan.published:
        cells = load_published(part.table).rows
        assert set(part.rows.values()) <= {row.method for row in cells}
        assert set(part.datasets) <= {row.dataset for row in cells}
        assert part.rows.keys() <= set(ablation.variants_of(plan))
    protocols = [find_protocol(plan.protocol or place.protocol) for capture in plan.captures for place in find_case(capture).places]
    assert {o.metric for o in plan.orderings} <= {measure.key for protocol in protocols for measure in protocol.measures} | VARIANTS.keys()


@pytest.mark.parametrize("name", PLANNED)
def test_expected_orderings_are_the_published_ones(name):
    """Of every ordering that a published table has in the same metric; tables are never mixed."""
    plan = ablation.plan_of(name)
    checked = 0
    for part in plan.published:
        figures = {row.method: row.figures for row in load_published(part.table).rows if not part.datasets or row.dataset in part.datasets}
        for ordering in plan.orderings:
            if ordering.better in part.rows and ordering.worse in part.rows:
                better, worse = (figures[part.rows[v]].get(ordering.metric) for v in (ordering.better, ordering.worse))
                if better is not None and worse is not None:
                    sign = -1 if ordering.metric.startswith(ablation.LOWER_IS_BETTER) else 1
                    assert sign * better.value > sign * worse.value, (part.table, ordering)
                    checked += 1
    assert checked or not plan.published


@pytest.mark.parametrize(
    ("prior", "capture", "said"),
    [
        ("depth", "synth_casual", "synth_casual brings its depth, so that both rows would have exact depth: take synth_casual_hidden"),
        (
            "depth",
            "synth_casual_bare",
            "synth_casual_bare hides its cameras too, and exact depth is told in a world that estimated ones do not share: take synth_casual_hidden",
        ),
        ("cameras", "synth_casual_hidden", "synth_casual_hidden brings its cameras, so that both rows would have exact ones: take synth_casual_bare"),
        ("masks", "dnerf_mutant", "nothing exact is known of dnerf_mutant: --oracle takes generated captures, for example synth_casual_hidden"),
    ],
)
def test_an_oracle_that_cannot_tell_anything_is_refused_in_one_sentence(prior, capture, said, tmp_path):
    with pytest.raises(FourfoldError) as refused:
        ablation.bench_ablation("mosca", TableOptions(None, tmp_path), (capture,), oracle=prior)
    assert str(refused.value) == said
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("prior", "end"), [("depth", "_hidden"), ("tracks", "_hidden"), ("tracks", ""), ("cameras", "_bare")])
def test_an_oracle_that_can_is_not_refused(prior, end):
    ablation.check_oracle(prior, f"synth_casual{end}")


def _made_up(values):
    """A stand-in of `measure.measured`: every figure of the protocol from `values[ablation]`."""

    def fake(task):
        keys = {m.key: m.variant for m in find_protocol(task.protocol).measures}
        row = task.folder.name.partition("_normal_seed")[0]  # RECIPE-ABLATION
        value = values[max((v for v in values if row.endswith(f"-{v}")), key=len)]
        facts = {"variants": keys, "size": [16, 16], "as_published": True, "images": 2, "recipe_used": "x", "quality": "draft"}
        return {"metrics": dict.fromkeys(keys, value), "seconds": 1.0, "gaussians": 10, "command": task.command, "run": str(task.folder), **facts}

    return fake


def _bench(name, capture, tmp_path, monkeypatch):
    kind = capture.removeprefix("synth_")
    generate(kind, tmp_path / capture, options=SyntheticOptions(frames=4, width=16, height=16, supersample=1, tracks=16))
    plan = ablation.plan_of(name)
    assert plan.captures == (capture,)
    values = {v: 20.0 - n for n, v in enumerate(ablation.variants_of(plan))}
    monkeypatch.setattr(table, "measured", _made_up(values))
    return ablation.bench_ablation(name, TableOptions(tmp_path, tmp_path / "out", seeds=2))


def test_the_box_protocol_measures_4dgs360(tmp_path, monkeypatch):
    result = _bench("fourdgs360", "synth_orbit360", tmp_path, monkeypatch)
    ours = [row for row in result["rows"] if row["source"] == "ours"]
    assert {row["protocol"] for row in ours} == {"iphone360"} and len(ours) == 2 * 8
    assert {"psnr", "mask_iou"} <= set(columns(result))
    judged = {(o["better"], o["worse"], o["metric"]): o for o in result["orderings"]}
    for metric in ("psnr", "mask_iou"):
        for pair in (("full", "himor"), ("himor", "shape_of_motion"), ("full", "without_anchors"), ("full", "without_3d_start")):
            assert judged[*pair, metric]["holds"] is True and judged[*pair, metric]["pairs"] == 2
    published = {(r["recipe"], r["dataset"]): r["metrics"]["psnr"] for r in result["rows"] if r["source"] == "published"}
    assert published == {("full: 4DGS360", "iPhone360 (iphone360)"): 11.3364, ("himor: HiMoR", "iPhone360 (iphone360)"): 10.9883}


def test_rows_of_several_tables_stand_beside_ours(tmp_path, monkeypatch):
    result = _bench("sparse_dynamic", "synth_sparse_moving", tmp_path, monkeypatch)
    rows = {(r["dataset"], r["recipe"]): r["metrics"].get("psnr_dynamic") for r in result["rows"] if r["source"] == "published"}
    assert len(rows) == 6 + 4 + 3 + 3
    assert rows["Average (letcamsgo)", "ftgs_star: FTGS*"] == 17.05
    assert rows["Average (letcamsgo)", "mosca_naive: MoSca"] == 15.6
    assert rows["LetCamsGo (sparse_dynamic_ablation)", "full: both"] == 18.05
    assert rows["LetCamsGo (sparse_dynamic_sampler)", "full: different views and times"] == 18.36
    assert {r["recipe"] for r in result["rows"] if r["source"] == "ours"} >= {"sparse_dynamic/mosca_m", "sparse_dynamic/shape_of_motion"}
    assert not any("mosca_m" in (o["better"], o["worse"]) for o in result["orderings"])
    text = markdown(result)
    assert all(
        load_published(t).source in text for t in ("letcamsgo", "sparse_dynamic_ablation", "sparse_dynamic_depth_loss", "sparse_dynamic_sampler")
    )
    assert text.count("never mixed") == 1


def test_a_table_asked_for_another_protocol(tmp_path, monkeypatch):
    generate("orbit360", tmp_path / "synth_orbit360", options=SyntheticOptions(frames=4, width=16, height=16, supersample=1, tracks=16))
    monkeypatch.setattr(table, "measured", _made_up({"himor": 1.0}))
    options = TableOptions(tmp_path, tmp_path / "out", recipes=("fourdgs360/himor",))
    for protocol, used in ((None, "synthetic"), ("iphone360", "iphone360")):
        (row,) = table.bench_table("synth_orbit360", TableOptions(**{**vars(options), "protocol": protocol}))["rows"]
        assert row["protocol"] == used


def test_baselines_of_sparse_dynamic_differ_in_what_they_say():
    naive, shape = (find_recipe(f"sparse_dynamic/{v}") for v in ("mosca_naive", "shape_of_motion"))
    assert naive is find_recipe("mosca_naive") and find_recipe("sparse_dynamic/mosca_m") is find_recipe("mosca_m")
    assert naive.stages == find_recipe("sparse_dynamic").stages
    assert shape.stages == find_recipe("shape_of_motion").stages and shape.priors == naive.priors


def test_rows_that_differ_in_what_is_filmed_run_what_they_say(tmp_path):
    plan = ablation.plan_of("sparse_dynamic")
    case = find_case("synth_sparse_moving")
    rows = {v: f"sparse_dynamic/{v}" for v in ("full", "one_camera", "two_cameras", "half_rate", "ftgs_star")}
    options = TableOptions(tmp_path, tmp_path / "out", filmed={f"sparse_dynamic/{v}": way for v, way in plan.filmed.items()})
    made = {v: table.plan(case, case.places[0], [tmp_path / "clip"], row, 1, options)[0] for v, row in rows.items()}
    asked = {v: (t.options.recipe, t.options.holdout, t.options.every) for v, t in made.items()}
    assert asked == {
        "full": ("sparse_dynamic/full", None, 1),
        "one_camera": ("mosca_naive", "/train:1", 1),
        "two_cameras": ("sparse_dynamic", "/train:2", 1),
        "half_rate": ("sparse_dynamic", None, 2),
        "ftgs_star": ("freetimegs", None, 1),
    }
    assert len({t.folder for t in made.values()}) == 5 and "--holdout /train:1" in made["one_camera"].command


def test_free_gaussians_come_last_and_rates_run_through():
    full, free = find_recipe("sparse_dynamic"), find_recipe("sparse_dynamic/free_gaussians")
    assert sum(s.steps for s in free.stages) == sum(s.steps for s in full.stages) and free.priors == full.priors
    for name, rate in full.stages[1].rates.items():
        first, last = (stage.rates[name] for stage in free.stages[1:])
        assert first.start == rate.start and last.start == pytest.approx(first.start * first.final)
        assert last.start * last.final == pytest.approx(rate.start * rate.final)


def test_the_baselines_of_the_table_begin_with_the_same_points(tmp_path):
    """FTGS* and D3DGS* beside the same static layer; what moves of D3DGS* is one moment of what moves of FTGS*."""
    capture, priors = exact("sparse_moving", tmp_path, SyntheticOptions(frames=6, width=48, height=32, supersample=1, tracks=160))
    starts = [
        find_recipe(name).initialize(capture, priors, QUALITIES["draft"], np.random.default_rng(3)) for name in ("freetimegs", "deformable3dgs_star")
    ]
    still, other = (scene.layer("static").splats for scene in starts)
    assert still.keys() == other.keys() and all(torch.equal(still[name], other[name]) for name in still)
    free, deformed = (scene.layer("free").splats["means"] for scene in starts)
    assert 0 < len(deformed) <= len(free)
