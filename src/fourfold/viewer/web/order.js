// Which Gaussians are drawn, the farthest first: whole 32-bit depths as keys, of what is drawn only.

const sorting = {capacity: 0};

function room(count) {
  if (sorting.capacity >= count) return;
  sorting.capacity = count;
  for (const name of ["keys", "rows", "otherKeys", "otherRows"]) sorting[name] = new Uint32Array(count);
  sorting.depths = new Float32Array(sorting.keys.buffer);
}

// Gaussians of `group`, numbered from `first`, that can touch the picture of `view`, appended to the `count` that are there
function gather(group, first, view, count) {
  const {places, alphas, reach} = group, {m, fx, fy, cx, cy, w, h, near} = view, margin = 0.15 * Math.max(w, h);
  const lx = cx / fx + 0.15 * w / fx, rx = (w - cx) / fx + 0.15 * w / fx, ly = cy / fy + 0.15 * h / fy, ry = (h - cy) / fy + 0.15 * h / fy;
  const {depths, rows} = sorting;
  for (let i = 0; i < group.n; i++) {
    if (alphas[i] < 1 / 255) continue;
    const a = places[3 * i], b = places[3 * i + 1], c = places[3 * i + 2], z = m[8] * a + m[9] * b + m[10] * c + m[11];
    if (!(z > near)) continue;
    const x = (m[0] * a + m[1] * b + m[2] * c + m[3]) / z, y = (m[4] * a + m[5] * b + m[6] * c + m[7]) / z;
    // as far as the linearised footprint reaches: spec cpu_rasterizer.md, the clamp of the Jacobian included
    const ux = Math.max(-lx, Math.min(rx, x)), uy = Math.max(-ly, Math.min(ry, y)), size = 3.4 * reach[i] / z;
    const sx = fx * size * Math.sqrt(1 + ux * ux) + 2, sy = fy * size * Math.sqrt(1 + uy * uy) + 2, px = fx * x + cx, py = fy * y + cy;
    if (px + sx < -margin || px - sx > w + margin || py + sy < -margin || py - sy > h + margin) continue;
    depths[count] = z;
    rows[count++] = first + i;
  }
  return count;
}

// the rows of the first `count`, the deepest first: three passes of 11 bits over the bits of positive floats, which sort as whole numbers
function sorted(count) {
  let {keys, rows, otherKeys, otherRows} = sorting;
  const sums = [new Uint32Array(2048), new Uint32Array(2048), new Uint32Array(2048)];
  for (let i = 0; i < count; i++) {
    const key = keys[i] = ~keys[i];
    sums[0][key & 2047]++; sums[1][(key >>> 11) & 2047]++; sums[2][key >>> 22]++;
  }
  for (let pass = 0; pass < 3; pass++) {
    const places = sums[pass], shift = 11 * pass;
    for (let k = 0, sum = 0; k < 2048; k++) { const n = places[k]; places[k] = sum; sum += n; }
    for (let i = 0; i < count; i++) {
      const key = keys[i], to = places[(key >>> shift) & 2047]++;
      otherKeys[to] = key; otherRows[to] = rows[i];
    }
    [keys, otherKeys, rows, otherRows] = [otherKeys, keys, otherRows, rows];
  }
  return rows.subarray(0, count);
}
