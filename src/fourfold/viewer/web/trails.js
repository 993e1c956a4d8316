// Where points of what moves have been lately, drawn over the picture.

const TAIL = 0.6;  // seconds

function drawTrails(overlay, trails, view, time) {
  const pen = overlay.getContext("2d"), {times, places, seen, count} = trails, n = times.length;
  if (overlay.width !== view.w || overlay.height !== view.h) { overlay.width = view.w; overlay.height = view.h; }
  pen.clearRect(0, 0, view.w, view.h);
  pen.lineWidth = Math.max(1, view.h / 500);
  let last = 0; while (last + 1 < n && times[last + 1] <= time) last++;
  const m = view.m;
  for (let i = 0; i < count; i++) {
    let before = null;
    for (let t = last; t >= 0 && times[t] >= time - TAIL; t--) {
      if (!seen[t * count + i]) { before = null; continue; }
      const at = 3 * (t * count + i), p = [0, 4, 8].map(r => m[r] * places[at] + m[r + 1] * places[at + 1] + m[r + 2] * places[at + 2] + m[r + 3]);
      if (p[2] <= view.near) { before = null; continue; }
      const here = [view.fx * p[0] / p[2] + view.cx, view.fy * p[1] / p[2] + view.cy];
      if (before) {
        pen.strokeStyle = `hsl(${(i * 137.5) % 360} 90% 65% / ${1 - (time - times[t]) / TAIL})`;
        pen.beginPath(); pen.moveTo(...before); pen.lineTo(...here); pen.stroke();
      }
      before = here;
    }
  }
}
