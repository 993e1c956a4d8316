// Small matrices: 4x4 row-major world-to-camera, OpenCV axes.

const sub = (a, b) => a.map((x, i) => x - b[i]), add = (a, b) => a.map((x, i) => x + b[i]), mul = (a, s) => a.map(x => x * s);
const dot = (a, b) => a.reduce((s, x, i) => s + x * b[i], 0), cross = (a, b) => [a[1]*b[2]-a[2]*b[1], a[2]*b[0]-a[0]*b[2], a[0]*b[1]-a[1]*b[0]];
const norm = a => Math.hypot(...a), unit = a => mul(a, 1 / (norm(a) || 1)), lerp = (a, b, s) => a.map((x, i) => x + s * (b[i] - x));
const axes = m => [[m[0], m[1], m[2]], [m[4], m[5], m[6]], [m[8], m[9], m[10]]];
const centre = m => { const [x, y, z] = axes(m); return [0, 1, 2].map(i => -(x[i] * m[3] + y[i] * m[7] + z[i] * m[11])); };
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
function pose(x, y, z, c) { return [...x, -dot(x, c), ...y, -dot(y, c), ...z, -dot(z, c), 0, 0, 0, 1]; }
function turn(v, axis, angle) { const c = Math.cos(angle), s = Math.sin(angle); return add(add(mul(v, c), mul(cross(axis, v), s)), mul(axis, dot(axis, v) * (1 - c))); }
