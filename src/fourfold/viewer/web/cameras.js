// Cameras: the filmed ones and other paths, turned about the focus by hand, and how far that is from what was filmed.

// the camera of `path` at the second `time` of its clock: {time, pose, k: focal lengths and principal point in shares of the picture, aspect}
function along(path, time) {
  const list = path.cameras; let i = 0; while (i + 1 < list.length && list[i + 1].at <= time) i++;
  const a = list[i], b = list[Math.min(i + 1, list.length - 1)], s = b.at > a.at ? clamp((time - a.at) / (b.at - a.at), 0, 1) : 0;
  if (!s) return a;
  const za = axes(a.pose), zb = axes(b.pose), z = unit(lerp(za[2], zb[2], s)), y0 = lerp(za[1], zb[1], s), y = unit(sub(y0, mul(z, dot(y0, z))));
  return {time: a.time + s * (b.time - a.time), pose: pose(cross(y, z), y, z, lerp(centre(a.pose), centre(b.pose), s)), k: lerp(a.k, b.k, s), aspect: a.aspect};
}

// `base` turned about `focus`, then moved towards it and aside
function orbited(base, focus, {yaw, pitch, zoom, shift}) {
  if (!yaw && !pitch && !zoom && !shift[0] && !shift[1]) return base;
  let [x, y, z] = axes(base), c = centre(base); const vertical = mul(y, -1), side = x;
  const spin = v => turn(turn(v, side, pitch), vertical, yaw);
  c = add(focus, spin(sub(c, focus))); [x, y, z] = [spin(x), spin(y), spin(z)];
  const depth = Math.max(dot(sub(focus, c), z), 1e-6);
  c = add(c, mul(z, depth * (1 - Math.exp(-zoom)))); c = add(c, add(mul(x, shift[0] * depth), mul(y, shift[1] * depth)));
  return pose(x, y, z, c);
}

// pixels of a camera whose picture of the filmed aspect fits into w x h
function pixels({k, aspect}, w, h) {
  const wide = w / h > aspect ? h * aspect : w, high = w / h > aspect ? h : w / aspect;
  return {fx: k[0] * wide, fy: k[1] * high, cx: (w - wide) / 2 + k[2] * wide, cy: (h - high) / 2 + k[3] * high, w, h};
}

// radians between where `m` looks at the focus from and the nearest direction that was filmed
function unseen(m, focus, directions) {
  const here = unit(sub(centre(m), focus));
  return Math.acos(clamp(Math.max(...directions.map(d => dot(d, here))), -1, 1));
}
