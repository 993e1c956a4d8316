"""The comparison page: every run's player, one clock, the runs' own figures, the frames all of them kept."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest

from fourfold.cli import main
from fourfold.errors import FourfoldError
from fourfold.pipeline import Run
from fourfold.viewer.compare import Compared, write_comparison


def _of(root: Path, name: str, scale: float = 1.0) -> Compared:
    run = Run(root)
    report = json.loads(json.dumps(run.report))
    report["metrics"]["heldout"] |= {"psnr": 20.0 * scale, "lpips": 0.5 * scale}
    return Compared(name, root, run.scene, run.capture, report)


def test_page_of_two_runs(finished_run, copied_run, tmp_path):
    kept = sorted(p.name for p in (finished_run / "renders" / "heldout").glob("*.png"))
    (copied_run / "renders" / "heldout" / kept[0]).unlink()
    notes = write_comparison(tmp_path / "page.html", [_of(finished_run, "first <run>"), _of(copied_run, "second", 1.5)])
    page = (tmp_path / "page.html").read_text()
    assert notes == []
    assert page.count('<iframe name="fourfold-compared"') == 2
    pages = json.loads(re.search(r'<script id="pages" type="application/json">(.*?)</script>', page, re.S)[1])
    assert len(pages) == 2 and all("__DATA__" not in p and "fourfold-compared" in p for p in pages)
    assert "first &lt;run&gt;" in page and "<run>" not in page.split("<script")[0]
    line = {key: re.search(f"<tr><th>{key}</th>(.*?)</tr>", page)[1] for key in ("psnr", "lpips")}
    assert line["psnr"] == "<td>20</td><td class=best>30</td>"
    assert line["lpips"] == "<td class=best>0.500</td><td>0.750</td>"  # lower is better
    assert f'alt="{kept[0]}"' not in page and page.count(f'alt="{kept[1]}"') == 3  # the truth and both runs


def test_what_cannot_be_compared(finished_run, copied_run, tmp_path, capsys):
    with pytest.raises(FourfoldError, match="two or more runs"):
        write_comparison(tmp_path / "page.html", [_of(finished_run, "alone")])
    assert main(["compare", str(finished_run), str(tmp_path / "nothing"), "-o", str(tmp_path / "page.html")]) == 2
    assert main(["compare", str(finished_run), str(copied_run), "--names", "one", "-o", str(tmp_path / "page.html")]) == 2
    assert "give one per run" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_a_browser_keeps_the_players_together(browser, finished_run, tmp_path):
    """The same run twice: both players show the same picture, and not the one they show before the shared camera turns."""
    page = tmp_path / "page.html"
    write_comparison(page, [_of(finished_run, "a"), _of(finished_run, "b")])
    drawn = "[...document.querySelectorAll('iframe')].every(f => f.contentDocument?.body?.dataset.drawn === 'yes')"

    def shot(question: str) -> np.ndarray:
        browser.open(f"{page.as_uri()}?{question}", 1000, 600)
        browser.until(f"document.querySelector('iframe') && {drawn}")
        time.sleep(0.5)  # the page may still be telling its players of the camera
        browser.until(drawn)
        return browser.picture() * 255

    straight, turned = shot("time=0.5"), shot("time=0.5&yaw=15")
    assert browser.errors == []
    half = straight.shape[1] // 2
    for picture in (straight, turned):
        left, right = picture[200:400, 30 : half - 30], picture[200:400, half + 1 + 20 : 2 * half - 39]
        rows = min(left.shape[1], right.shape[1])
        assert np.abs(left[:, :rows] - right[:, :rows]).mean() < 12  # the same but for a pixel of layout
        assert left.std() > 10  # something is drawn
    assert np.abs(straight[200:400, 30 : half - 30] - turned[200:400, 30 : half - 30]).mean() > 3
