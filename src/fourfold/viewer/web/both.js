// What the page and its worker share: how textures are laid out, and shared motions between their knots (geometry/interpolation.py).

const ROW = 2048;  // texels in a row of a texture
const STILL = 254, FILMED = 255;  // kinds of motion; others are how many texels of coefficients there are
const WHOLE = 4095;  // what the coefficients of a Gaussian sum up to

// four knots around `time` and their weights: a Hermite piece, slopes of the parabola through a knot and its neighbours, of the chord at an end
function cubic(knots, time) {
  const n = knots.length;
  if (n === 1) return {at: [0, 0, 0, 0], weight: [0, 1, 0, 0]};
  const t = Math.min(Math.max(time, knots[0]), knots[n - 1]);
  let low = 0, high = n - 1;
  while (high - low > 1) { const middle = (low + high) >> 1; if (knots[middle] <= t) low = middle; else high = middle; }
  const left = low, step = i => knots[i + 1] - knots[i];
  const before = step(Math.max(left - 1, 0)), here = step(left), after = step(Math.min(left + 1, n - 2));
  const u = (t - knots[left]) / here;
  const parabola = (a, b) => { const one = -b / (a * (a + b)), three = a / (b * (a + b)); return [one, -(one + three), three]; };
  const chord = 1 / here;
  const leftSlope = left > 0 ? [...parabola(before, here), 0] : [0, -chord, chord, 0];
  const rightSlope = left < n - 2 ? [0, ...parabola(here, after)] : [0, -chord, chord, 0];
  const value = [0, (1 + 2 * u) * (1 - u) ** 2, u * u * (3 - 2 * u), 0];
  const rise = u * (1 - u) ** 2 * here, fall = u * u * (u - 1) * here;
  return {
    at: [Math.max(left - 1, 0), left, left + 1, Math.min(left + 2, n - 1)],
    weight: value.map((v, i) => v + rise * leftSlope[i] + fall * rightSlope[i]),
  };
}

// 6D rotation and translation of each motion of `table` at `time`: 9 numbers each, into `out`
function motionsAt(table, time, out) {
  const {at, weight} = cubic(table.knots, time), row = table.count * 9;
  for (let i = 0; i < row; i++) {
    let sum = 0;
    for (let k = 0; k < 4; k++) sum += weight[k] * table.values[at[k] * row + i];
    out[i] = sum;
  }
  return out;
}
