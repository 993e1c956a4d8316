"""Plots of the report as SVG text: lines over time, and camera paths from above."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 860, 270, 48, 12, 40, 40
_ACROSS = 860  # pixels of the camera picture
_LETTER = 7.0  # pixels of a letter of the names, on average
_STILL = 1e-6  # of the scene's units: less is no movement


def line_plot_svg(series: Mapping[str, Sequence[tuple[float, float]]], x_label: str, y_label: str) -> str:
    """Lines with points over common axes; each series is a list of (x, y) in rising order of x. Empty text if there is nothing to draw."""
    values = [p for line in series.values() for p in line]
    if not values:
        return ""
    xs, ys = np.array(values, dtype=np.float64).T
    x_ticks, y_ticks = nice_ticks(float(xs.min()), float(xs.max()), 8), nice_ticks(float(ys.min()), float(ys.max()), 5)

    def to_x(x: float) -> float:
        return _LEFT + (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (_WIDTH - _LEFT - _RIGHT)

    def to_y(y: float) -> float:
        return _HEIGHT - _BOTTOM - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (_HEIGHT - _TOP - _BOTTOM)

    marks = [_text(_WIDTH / 2, _HEIGHT - 4, x_label, "middle"), _text(4, 14, y_label)]
    for tick in y_ticks:
        marks.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{to_y(tick):.1f}" y2="{to_y(tick):.1f}" stroke="#8884"/>')
        marks.append(_text(_LEFT - 6, to_y(tick) + 4, f"{tick:g}", "end"))
    marks += [_text(to_x(tick), _HEIGHT - _BOTTOM + 16, f"{tick:g}", "middle") for tick in x_ticks]
    key = _LEFT + 6.0
    for number, (name, line) in enumerate(series.items()):
        color = f"hsl({(205 + 165 * number) % 360} 70% 48%)"
        points = [(to_x(x), to_y(y)) for x, y in line]
        marks.append(_polyline(points, color, 2.5 if number == 0 else 1.5))
        marks += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in points]
        marks += [f'<circle cx="{key:.1f}" cy="26" r="4" fill="{color}"/>', _text(key + 10, 30, name)]
        key += 34 + _LETTER * len(name)
    return _svg(_WIDTH, _HEIGHT, marks)


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers at even distances, at most `most` + 2 of them, the first at or below `low` and the last at or above `high`."""
    span = max(high - low, 1e-9 * max(1.0, abs(high)))
    raw = span / most
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * (1 - 1e-9)))
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [float(round(k * step, 10)) for k in np.arange(first, max(last, first + 1) + 0.5)]


def camera_path_svg(capture: Capture) -> str:
    """Camera centres of every view with their viewing directions, seen along the mean up axis; held-out cameras are dashed."""
    pose = capture.world_to_camera
    centers = -np.einsum("vtji,vtj->vti", pose[..., :3, :3], pose[..., :3, 3])
    forward = pose[..., 2, :3]
    known = np.isfinite(centers).all(axis=-1) & capture.present
    if not known.any():
        return "<p>The cameras are not known.</p>"
    if np.ptp(centers[known], axis=0).max() < _STILL:
        return "<p>The camera stood still or only turned: there is no path to show.</p>"
    axes = _ground_axes(pose[known])
    flat, looks = centers @ axes.T, forward @ axes.T
    low, high = flat[known].min(axis=0), flat[known].max(axis=0)
    pad = 60.0
    scale = (_ACROSS - 2 * pad) / float(max(high - low))
    height = float(np.clip((high - low)[1] * scale, 60, 480)) + 2 * pad
    scale = min(scale, (height - 2 * pad) / max(float((high - low)[1]), 1e-12))
    middle = (low + high) / 2
    marks: list[str] = []
    for view in range(capture.views):
        points = ((flat[view] - middle) * [scale, -scale] + [_ACROSS / 2, height / 2])[known[view]]
        if len(points):
            tips = points + looks[view][known[view]] * [26, -26]
            marks += _camera_marks(points, tips, view, capture)
    return _svg(_ACROSS, round(height), marks)


def _ground_axes(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, 3) unit vectors to the right and ahead, across the mean vertical of world_to_camera `poses` (M, 4, 4)."""
    down, ahead = poses[:, 1, :3].mean(axis=0), poses[:, 2, :3].mean(axis=0)
    down = down if np.linalg.norm(down) > 0.1 else poses[0, 1, :3]
    side = np.cross(down, ahead)
    if np.linalg.norm(side) < 0.1:  # the cameras look at each other
        side = np.cross(down, poses[0, 2, :3])
    ahead = np.cross(side, down)
    return np.stack([side / max(np.linalg.norm(side), 1e-9), ahead / max(np.linalg.norm(ahead), 1e-9)])


def _camera_marks(points: NDArray[np.float64], tips: NDArray[np.float64], view: int, capture: Capture) -> list[str]:
    measured = bool(capture.heldout[view].any() and not capture.train[view].any())
    color = "#888" if measured else f"hsl({(205 + view * 360 // max(capture.views, 1)) % 360} 70% 48%)"
    marks = [_polyline([(float(x), float(y)) for x, y in points], color, 2, dashed=measured)]
    for number in range(0, len(points), max(1, len(points) // 14)):
        (x, y), (tip_x, tip_y) = points[number], tips[number]
        marks.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{tip_x:.1f}" y2="{tip_y:.1f}" stroke="{color}" stroke-opacity=".7"/>')
        marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{5 if number == 0 else 3}" fill="{color}"/>')
    label = f"{capture.view_names[view]} (held out)" if measured else capture.view_names[view]
    return [*marks, _text(float(points[0, 0]), float(points[0, 1]) + 22, label, "middle")]


def _polyline(points: Sequence[tuple[float, float]], color: str, width: float, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="6 5"' if dashed else ""
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline fill="none" stroke="{color}" stroke-width="{width}" stroke-linejoin="round"{dash} points="{way}"/>'


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" fill="currentColor" text-anchor="{anchor}">{html.escape(words)}</text>'


def _svg(width: float, height: float, marks: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(marks)}</svg>'
