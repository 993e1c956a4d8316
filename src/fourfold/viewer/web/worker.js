// The worker: unpacks parts, and puts what is drawn in order. The page asks for one thing at a time.

const parts = new Map();
let lasting = null, told = null;

async function unpack({number, part, text, starts}) {
  const tables = readTables(part.sections, await inflated(text));
  if (number === 0) lasting = tables;
  const motions = readMotions(tables, starts.motion), groups = [];
  for (const group of part.groups) {
    if ("film" in group) groups.push(...filmGroups(tables, tables.has(group.name + ".mean") ? tables : lasting, group, part));
    else groups.push(courseGroup(tables, group, part, told.tick, motions));
  }
  const words = wordsOf(groups, starts.texels), shades = told.terms ? shadesOf(groups, told.terms, starts.palette) : null;
  for (const group of groups) settle(group);
  parts.set(number, {groups});
  const shared = [...motions.values()].map(({knots, count, values, first}) => ({knots, count, values: values.slice(), first}));
  const reply = {kind: "part", number, words, shades, motions: shared, trails: trailsOf(tables)};
  const moved = [words.base.buffer, words.motion.buffer, ...(shades ? [shades.which.buffer, shades.colors.buffer] : []), ...shared.map(s => s.values.buffer)];
  postMessage(reply, moved);
}

// arrays that a group needs whenever it is put in order
function settle(group) {
  const {n, looks, film} = group;
  group.places = new Float32Array(3 * n);
  group.alphas = new Float32Array(n);
  group.reach = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    let largest = Math.max(looks.size[3 * i], looks.size[3 * i + 1], looks.size[3 * i + 2]);
    if (film && film.sizes) for (let f = 0; f < film.keys; f++) for (let k = 0; k < 3; k++) largest = Math.max(largest, film.sizes[3 * (f * n + i) + k]);
    group.reach[i] = Math.exp(largest);
  }
  group.stands = !film && !group.lives && !group.lines && !group.table;
  if (group.stands) groupAt(group, 0, group.places, group.alphas);
}

function trailsOf(tables) {
  const points = tables.get("trails.points");
  if (!points) return null;
  const step = tables.get("trails.step").data[0], times = tables.get("trails.times").data, places = Float32Array.from(points.data, x => x * step);
  return {times, places, seen: Uint8Array.from(tables.get("trails.seen").data), count: points.columns / 3};
}

function order({time, view, shown, hidden, stamp, buffer}) {
  let total = 0, count = 0;
  for (const {number} of shown) for (const group of parts.get(number).groups) total += group.n;
  room(total);
  for (const {number, first} of shown) {
    let row = first;
    for (const group of parts.get(number).groups) {
      if (!(hidden & (1 << group.layer))) {
        if (!group.stands) groupAt(group, time, group.places, group.alphas);
        count = gather(group, row, view, count);
      }
      row += group.n;
    }
  }
  const rows = sorted(count), out = buffer && buffer.byteLength >= 4 * count ? new Uint32Array(buffer) : new Uint32Array(Math.max(1, Math.ceil(count / ROW)) * ROW);
  out.set(rows);
  postMessage({kind: "order", buffer: out.buffer, count, stamp}, [out.buffer]);
}

onmessage = ({data}) => {
  if (data.kind === "start") told = data;
  else if (data.kind === "part") unpack(data).catch(error => postMessage({kind: "failed", message: String(error.message || error)}));
  else if (data.kind === "drop") parts.delete(data.number);
  else order(data);
};
