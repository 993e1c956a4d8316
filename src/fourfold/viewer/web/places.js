// Where the Gaussians of a group are at a time, and how opaque: what the shader computes, here for their order.

// into places (3 n) and alphas (n, 0 to 1)
function groupAt(group, time, places, alphas) {
  if (group.film) return filmAt(group, time, places, alphas);
  const {n, looks, lives, lines, count} = group;
  if (group.table) blendedAt(group, time, places); else places.set(looks.place);
  for (let i = 0; i < n; i++) {
    let alpha = looks.color[4 * i + 3] / 255;
    if (lives) {
      const beyond = Math.max(lives.on[i] - time, time - lives.off[i], 0) / lives.width[i];
      alpha = time < lives.begin[i] || time >= lives.end[i] ? 0 : alpha * Math.exp(-beyond * beyond);
    }
    alphas[i] = alpha;
    if (!lines) continue;
    const since = time - lines.center[i], speed = since < 0 ? lines.before : lines.after;
    for (let k = 0; k < 3; k++) places[3 * i + k] += speed[3 * i + k] * since;
  }
}

function blendedAt({n, looks, count, index, weight, table}, time, places) {
  table.now = motionsAt(table, time, table.now || new Float64Array(table.count * 9));
  const now = table.now, m = new Float64Array(9);
  for (let i = 0; i < n; i++) {
    m.fill(0);
    for (let k = 0; k < count; k++) {
      const w = weight[i * count + k], from = index[i * count + k] * 9;
      for (let c = 0; c < 9; c++) m[c] += w * now[from + c];
    }
    const lx = 1 / Math.hypot(m[0], m[1], m[2]), x0 = m[0] * lx, x1 = m[1] * lx, x2 = m[2] * lx;
    const along = x0 * m[3] + x1 * m[4] + x2 * m[5];
    let y0 = m[3] - along * x0, y1 = m[4] - along * x1, y2 = m[5] - along * x2;
    const ly = 1 / Math.hypot(y0, y1, y2); y0 *= ly; y1 *= ly; y2 *= ly;
    const a = looks.place[3 * i], b = looks.place[3 * i + 1], c = looks.place[3 * i + 2];
    places[3 * i] = x0 * a + y0 * b + (x1 * y2 - x2 * y1) * c + m[6];
    places[3 * i + 1] = x1 * a + y1 * b + (x2 * y0 - x0 * y2) * c + m[7];
    places[3 * i + 2] = x2 * a + y2 * b + (x0 * y1 - x1 * y0) * c + m[8];
  }
}

function filmAt({n, looks, film}, time, places, alphas) {
  const span = Math.max(film.end - film.begin, 1e-9), u = Math.min(Math.max((time - film.begin) / span, 0), 1) * (film.keys - 1);
  const left = Math.min(Math.floor(u), Math.max(film.keys - 2, 0)), right = Math.min(left + 1, film.keys - 1), share = u - left;
  for (let i = 0; i < 3 * n; i++) places[i] = film.places[left * 3 * n + i] * (1 - share) + film.places[right * 3 * n + i] * share;
  const colors = film.colors;
  for (let i = 0; i < n; i++) {
    alphas[i] = (colors ? colors[4 * (left * n + i) + 3] * (1 - share) + colors[4 * (right * n + i) + 3] * share : looks.color[4 * i + 3]) / 255;
  }
}
