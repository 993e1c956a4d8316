// Groups of Gaussians from their tables: what the worker needs to place them, in typed arrays. packing/looks.py, lives.py, parts.py, keys.py.

const CELL = 256, BRIEF = 2.4, TURN_STEP = 1 / 179, LOG_STEP = 0.04, SH_STEP = 1 / 256, WIDTH_STEP = 0.025;
const ANGLE_STEP = 1 / 128, LOOK_STEP = 0.02, HIDDEN = 255, EVER = 1e9;

// positions, steps, sizes, colours and rotations of the group `name`
function readLooks(tables, name) {
  const get = key => tables.get(name + "." + key);
  const mean = get("mean"), n = mean.rows, low = get("low").data, step = get("step").data, scale = get("scale").data;
  const place = new Float32Array(3 * n), steps = new Float32Array(n), size = new Float32Array(3 * n), color = new Uint8Array(4 * n);
  const rgb = get("color").data, alpha = get("alpha").data;
  for (let i = 0; i < n; i++) {
    const cell = Math.floor(i / CELL), green = rgb[3 * i];
    steps[i] = step[cell];
    for (let k = 0; k < 3; k++) {
      place[3 * i + k] = low[3 * cell + k] + mean.data[3 * i + k] * steps[i];
      size[3 * i + k] = scale[3 * i + k] * LOG_STEP;
    }
    color[4 * i] = (rgb[3 * i + 1] + green) & 255;
    color[4 * i + 1] = green;
    color[4 * i + 2] = (rgb[3 * i + 2] + green) & 255;
    color[4 * i + 3] = alpha[i];
  }
  return {n, place, steps, size, color, quat: get("quat").data, shades: get("sh"), palette: get("shs")};
}

// unit quaternion w x y z of four whole numbers at `at`
function fromThree(rows, at, out) {
  const largest = rows[at];
  let sum = 0;
  for (let k = 0, from = at + 1; k < 4; k++) if (k !== largest) { out[k] = rows[from++] * TURN_STEP; sum += out[k] * out[k]; }
  out[largest] = Math.sqrt(Math.max(0, 1 - sum));
  const length = Math.hypot(out[0], out[1], out[2], out[3]);
  for (let k = 0; k < 4; k++) out[k] /= length;
}

// the lifetimes of a group, seconds; null where all are there always
function readLives(tables, name, begin, tick) {
  const on = tables.get(name + ".on"), window = tables.get(name + ".window");
  if (!on) return null;
  const off = tables.get(name + ".off").data, width = tables.get(name + ".width").data, n = on.rows;
  const lives = {on: new Float32Array(n), off: new Float32Array(n), width: new Float32Array(n), begin: new Float32Array(n), end: new Float32Array(n)};
  for (let i = 0; i < n; i++) {
    lives.on[i] = begin + on.data[i] * tick;
    lives.off[i] = begin + off[i] * tick;
    lives.width[i] = Math.exp(width[i] * WIDTH_STEP);
    lives.begin[i] = window ? window.data[2 * i] : -EVER;
    lives.end[i] = window ? window.data[2 * i + 1] : EVER;
  }
  return lives;
}

// velocities until and from a Gaussian's own moment, from where its lines end
function readLines(tables, name, looks, lives, part, tick) {
  const own = tables.get(name + ".center");
  if (!own) return null;
  const n = own.rows, early = tables.get(name + ".early").data, late = tables.get(name + ".late").data;
  const lines = {center: new Float32Array(n), before: new Float32Array(3 * n), after: new Float32Array(3 * n)};
  for (let i = 0; i < n; i++) {
    const center = lines.center[i] = part.begin + own.data[i] * tick;
    const first = lives ? Math.max(lives.on[i] - BRIEF * lives.width[i], lives.begin[i], part.begin) : part.begin;
    const last = lives ? Math.min(lives.off[i] + BRIEF * lives.width[i], lives.end[i], part.end) : part.end;
    for (let k = 0; k < 3; k++) {
      if (first < center) lines.before[3 * i + k] = early[3 * i + k] * looks.steps[i] / (first - center);
      if (last > center) lines.after[3 * i + k] = late[3 * i + k] * looks.steps[i] / (last - center);
    }
  }
  return lines;
}

// a group in closed form
function courseGroup(tables, group, part, tick, motions) {
  const name = group.name, looks = readLooks(tables, name), lives = readLives(tables, name, part.begin, tick);
  const index = tables.get(name + ".index"), rest = tables.get(name + ".weight"), count = index ? index.columns : 0;
  const weight = new Float32Array(looks.n * count);
  for (let i = 0; i < looks.n && count; i++) {
    let left = WHOLE;
    for (let k = 1; k < count; k++) { const w = rest.data[i * (count - 1) + k - 1]; weight[i * count + k] = w / WHOLE; left -= w; }
    weight[i * count] = left / WHOLE;
  }
  const lines = readLines(tables, name, looks, lives, part, tick);
  return {n: looks.n, layer: group.layer, looks, lives, lines, count, index: index && index.data, weight, table: count ? motions.get(group.table) : null};
}

// the shared motions of a part by name, each with the number of its first one among all
function readMotions(tables, first) {
  const motions = new Map();
  for (const [key, knots] of tables) {
    if (!key.endsWith(".knots")) continue;
    const name = key.slice(0, -6), steps = tables.get(name + ".steps").data, turns = tables.get(name + ".turns"), shifts = tables.get(name + ".shifts").data;
    const count = turns.columns / 6, values = new Float32Array(knots.rows * count * 9);
    for (let i = 0; i < knots.rows * count; i++) {
      for (let k = 0; k < 6; k++) values[9 * i + k] = turns.data[6 * i + k] * steps[0];
      for (let k = 0; k < 3; k++) values[9 * i + 6 + k] = shifts[3 * i + k] * steps[1];
    }
    motions.set(name, {knots: knots.data, count, values, first});
    first += count;
  }
  return motions;
}
