// Groups of keyframes: packing/keys.py. A group becomes one for each level, since all of a level have equally many keyframes.

function filmGroups(tables, looksTables, group, part) {
  const all = readLooks(looksTables, group.name), level = tables.get(group.name + ".level").data, rowsOf = new Map();
  for (let i = 0; i < level.length; i++) if (level[i] !== HIDDEN) { if (!rowsOf.has(level[i])) rowsOf.set(level[i], []); rowsOf.get(level[i]).push(i); }
  return [...rowsOf.keys()].sort((a, b) => a - b).map(one => filmGroup(tables, `${group.name}.l${one}`, some(all, rowsOf.get(one)), group, part));
}

// the looks of `rows`
function some(looks, rows) {
  const take = (data, width) => { const out = new data.constructor(rows.length * width); rows.forEach((r, i) => { for (let k = 0; k < width; k++) out[i * width + k] = data[r * width + k]; }); return out; };
  const shades = looks.shades && {data: take(looks.shades.data, 1)};
  return {n: rows.length, place: take(looks.place, 3), steps: take(looks.steps, 1), size: take(looks.size, 3), color: take(looks.color, 4), quat: take(looks.quat, 4), shades, palette: looks.palette};
}

function filmGroup(tables, name, looks, group, part) {
  const n = looks.n, get = key => tables.get(name + "." + key), place = get("place"), turn = get("turn").data, keys = place.rows;
  const size = get("size"), alpha = get("alpha"), color = get("color"), changes = Boolean(size || alpha || color);
  const film = {keys, changes, places: new Float32Array(keys * n * 3), quats: new Float32Array(keys * n * 4), begin: part.begin, end: part.end};
  if (changes) { film.sizes = new Float32Array(keys * n * 3); film.colors = new Uint8Array(keys * n * 4); }
  const base = [0, 0, 0, 0], turned = [0, 0, 0, 0];
  for (let i = 0; i < n; i++) {
    fromThree(looks.quat, 4 * i, base);
    for (let f = 0; f < keys; f++) {
      const at = f * n + i, v = 3 * at;
      for (let k = 0; k < 3; k++) film.places[v + k] = looks.place[3 * i + k] + place.data[v + k] * looks.steps[i];
      turnedBy(base, turn[v] * ANGLE_STEP, turn[v + 1] * ANGLE_STEP, turn[v + 2] * ANGLE_STEP, turned);
      film.quats.set(turned, 4 * at);
      if (!changes) continue;
      for (let k = 0; k < 3; k++) {
        film.sizes[v + k] = looks.size[3 * i + k] + (size ? size.data[v + k] * LOOK_STEP : 0);
        film.colors[4 * at + k] = color ? color.data[v + k] : looks.color[4 * i + k];
      }
      film.colors[4 * at + 3] = alpha ? alpha.data[at] : looks.color[4 * i + 3];
    }
  }
  return {n, layer: group.layer, looks, film, count: 0, lives: null, lines: null, table: null};
}

// the rotation vector (x, y, z) after the quaternion `base`
function turnedBy(base, x, y, z, out) {
  const angle = Math.hypot(x, y, z), factor = angle > 1e-9 ? Math.sin(angle / 2) / angle : 0.5, w = Math.cos(angle / 2);
  x *= factor; y *= factor; z *= factor;
  out[0] = w * base[0] - x * base[1] - y * base[2] - z * base[3];
  out[1] = w * base[1] + x * base[0] + y * base[3] - z * base[2];
  out[2] = w * base[2] - x * base[3] + y * base[0] + z * base[1];
  out[3] = w * base[3] + x * base[2] - y * base[1] + z * base[0];
}
