// What the shader reads: two texels a Gaussian, and more for those that move. Textures are ROW texels wide.


const floats = new Float32Array(1), bits = new Uint32Array(floats.buffer);
const bitsOf = x => { floats[0] = x; return bits[0]; };

function half(x) {
  const b = bitsOf(x), sign = (b >>> 16) & 0x8000, exponent = ((b >>> 23) & 255) - 112, fraction = (b & 0x7fffff) + 0x1000;
  if (exponent <= 0) return sign;
  if (exponent >= 31) return sign | 0x7bff;
  return sign | ((exponent << 10) + (fraction >>> 13));
}

// whole texels of `texels`, filled up to whole rows
const texture = texels => new Uint32Array(Math.max(1, Math.ceil(texels / ROW)) * ROW * 4);

// 10 bits for each of the three smaller components, 2 for which is the largest
function packedQuat(q, at) {
  let largest = 0;
  for (let k = 1; k < 4; k++) if (Math.abs(q[at + k]) > Math.abs(q[at + largest])) largest = k;
  const sign = q[at + largest] < 0 ? -716 : 716;
  let word = largest << 30;
  for (let k = 0, shift = 0; k < 4; k++) if (k !== largest) { word |= ((Math.round(q[at + k] * sign) + 512) & 1023) << shift; shift += 10; }
  return word >>> 0;
}

const sizesWord = (a, b) => (half(a) | (half(b) << 16)) >>> 0;
const colorWord = (c, at) => (c[at] | (c[at + 1] << 8) | (c[at + 2] << 16) | (c[at + 3] << 24)) >>> 0;

// texels of a group's motion, each Gaussian's one after the other
function motionTexels(group) {
  if (group.film) return 1 + group.film.keys * (group.film.changes ? 2 : 1);
  return group.lives || group.lines || group.count ? 3 + Math.ceil(group.count / 4) : 0;
}

// base and motion texels of the groups of a part; `first` is where its motion texels begin in the texture
function wordsOf(groups, first) {
  const total = groups.reduce((sum, g) => sum + g.n, 0), moving = groups.reduce((sum, g) => sum + g.n * motionTexels(g), 0);
  const base = texture(2 * total), motion = texture(moving), asFloat = new Float32Array(motion.buffer), quat = [0, 0, 0, 0];
  let row = 0, pointer = 0;
  for (const group of groups) {
    const texels = motionTexels(group), looks = group.looks, kind = group.film ? FILMED : texels ? texels - 3 : STILL;
    for (let i = 0; i < group.n; i++, row++, pointer += texels) {
      const at = 8 * row;
      for (let k = 0; k < 3; k++) base[at + k] = bitsOf(looks.place[3 * i + k]);
      base[at + 3] = colorWord(looks.color, 4 * i);
      fromThree(looks.quat, 4 * i, quat);
      base[at + 4] = packedQuat(quat, 0);
      base[at + 5] = sizesWord(looks.size[3 * i], looks.size[3 * i + 1]);
      base[at + 6] = (half(looks.size[3 * i + 2]) | (group.layer << 16) | (kind << 24)) >>> 0;
      base[at + 7] = first + pointer;
      if (group.film) filmWords(group, i, motion, asFloat, 4 * pointer);
      else if (texels) courseWords(group, i, motion, asFloat, 4 * pointer);
    }
  }
  return {base, motion};
}

function courseWords(group, i, motion, asFloat, at) {
  const {lives, lines, count} = group;
  asFloat.set(lives ? [lives.on[i], lives.off[i], lives.width[i]] : [-EVER, EVER, 1], at + 1);
  asFloat[at + 7] = lives ? lives.begin[i] : -EVER;
  asFloat[at + 11] = lives ? lives.end[i] : EVER;
  if (lines) {
    asFloat[at] = lines.center[i];
    for (let k = 0; k < 3; k++) { asFloat[at + 4 + k] = lines.before[3 * i + k]; asFloat[at + 8 + k] = lines.after[3 * i + k]; }
  }
  for (let k = 0; k < count; k++) motion[at + 12 + k] = ((group.table.first + group.index[i * count + k]) | (Math.round(group.weight[i * count + k] * WHOLE) << 16)) >>> 0;
}

function filmWords(group, i, motion, asFloat, at) {
  const film = group.film, n = group.n, each = film.changes ? 2 : 1;
  motion[at] = film.keys; motion[at + 1] = each; asFloat[at + 2] = film.begin; asFloat[at + 3] = (film.keys - 1) / Math.max(film.end - film.begin, 1e-9);
  for (let f = 0; f < film.keys; f++) {
    const key = f * n + i, to = at + 4 + 4 * f * each;
    for (let k = 0; k < 3; k++) asFloat[to + k] = film.places[3 * key + k];
    motion[to + 3] = packedQuat(film.quats, 4 * key);
    if (!film.changes) continue;
    motion[to + 4] = sizesWord(film.sizes[3 * key], film.sizes[3 * key + 1]);
    motion[to + 5] = half(film.sizes[3 * key + 2]);
    motion[to + 6] = colorWord(film.colors, 4 * key);
  }
}

// harmonics: which entry of the palette each Gaussian has, and the palette, `terms` texels an entry
function shadesOf(groups, terms, first) {
  const total = groups.reduce((sum, g) => sum + g.n, 0), which = new Uint32Array(Math.max(1, Math.ceil(total / ROW)) * ROW).fill(0xffffffff);
  const starts = new Map();
  let row = 0, entries = 0;
  for (const {looks, n} of groups) {
    const palette = looks.palette;
    if (palette && !starts.has(palette)) { starts.set(palette, entries); entries += palette.rows; }
    for (let i = 0; i < n; i++, row++) if (palette) which[row] = first + starts.get(palette) + looks.shades.data[i];
  }
  const colors = new Float32Array(Math.max(1, Math.ceil(entries * terms / ROW)) * ROW * 4);
  for (const [palette, start] of starts)
    for (let e = 0; e < palette.rows; e++)
      for (let j = 0; j < palette.columns / 3; j++)
        for (let k = 0; k < 3; k++) colors[4 * ((start + e) * terms + j) + k] = palette.data[e * palette.columns + 3 * j + k] * SH_STEP;
  return {which, colors};
}
