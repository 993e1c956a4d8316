// Parts of the scene on their way from the page to the graphics memory: the lasting one, and of each strand the one that plays and the next.

const SLICE = 128;  // rows of a texture that are filled in one frame

const whole = (n, unit) => Math.max(1, Math.ceil(n / unit)) * unit;

// where each part's Gaussians, texels, motions and palette entries begin, and how much room all need together
function layout(header) {
  const list = [], sizes = {gaussians: 0, texels: 0, motions: 0, palette: 0};
  const slot = parts => {
    const most = name => Math.max(0, ...parts.map(p => p.told[name])), start = {first: sizes.gaussians, texels: sizes.texels, motion: sizes.motions, palette: sizes.palette};
    sizes.gaussians += whole(most("count"), ROW); sizes.texels += whole(most("texels"), ROW); sizes.motions += most("motions");
    sizes.palette += header.terms ? whole(most("palette"), ROW) : 0;
    for (const part of parts) part.starts = start;
  };
  list.push({number: 0, strand: -1, told: header.lasting, state: "page"});
  slot(list);
  header.strands.forEach((strand, s) => {
    const mine = strand.map((told, i) => ({number: list.length + i, strand: s, told, state: "page"}));
    list.push(...mine);
    slot(mine.filter((_, i) => i % 2 === 0)); slot(mine.filter((_, i) => i % 2 === 1));
  });
  return {list, sizes, strands: header.strands.map((_, s) => list.filter(p => p.strand === s)), queue: [], shown: new Map()};
}

const textOf = number => document.getElementById("part" + number).textContent;

// ask the worker for what plays at `time` and for what comes next; returns whether all that plays is there
function want(parts, worker, time) {
  let ready = parts.list[0].state === "ready";
  ask(parts, worker, parts.list[0]);
  for (const strand of parts.strands) {
    let now = 0; while (now + 1 < strand.length && strand[now + 1].told.begin <= time) now++;
    ready = strand[now].state === "ready" && ready;
    const id = strand[now].strand, before = parts.shown.get(id);
    // what was drawn lies where the part that plays has to go: after a jump nothing is drawn until that is there
    if (before && before !== strand[now] && strand[now].state === "page" && (strand.indexOf(before) - now) % 2 === 0) parts.shown.delete(id);
    for (const [i, part] of strand.entries()) {
      const wanted = i === now || i === now + 1;
      if (!wanted && part.state === "ready" && parts.shown.get(id) !== part) { part.state = "page"; worker.postMessage({kind: "drop", number: part.number}); }
    }
    for (const part of strand.slice(now, now + 2)) if (!blocked(strand, part, parts)) ask(parts, worker, part);
    if (strand[now].state === "ready") parts.shown.set(id, strand[now]);
  }
  if (parts.list[0].state === "ready") parts.shown.set(-1, parts.list[0]);
  return ready;
}

// another part in the same half of the strand's room is drawn or on its way
const blocked = (strand, part, parts) => strand.some((p, i) => p !== part && (i - strand.indexOf(part)) % 2 === 0 && p.state !== "page");

function ask(parts, worker, part) {
  if (part.state !== "page") return;
  part.state = "asked";
  worker.postMessage({kind: "part", number: part.number, part: part.told, text: textOf(part.number), starts: part.starts});
}

// the worker's answer: its texels wait in line
function arrived(parts, {number, words, shades, motions}) {
  const part = parts.list[number], {first, texels, palette} = part.starts;
  part.shared = motions; part.state = "filling";
  const add = (texture, data, start, each) => { for (let rows = data.length / (ROW * each), from = 0; from < rows; from += SLICE) parts.queue.push({part, texture, data, start, from, to: Math.min(from + SLICE, rows)}); };
  add("base", words.base, 2 * first / ROW, 4); add("motion", words.motion, texels / ROW, 4);
  if (shades) { add("which", shades.which, first / ROW, 1); add("palette", shades.colors, palette * header.terms / ROW, 4); }
  parts.queue.push({part, last: true});
}

// a frame's share of what waits; returns whether anything was done
function fillSome(parts, screen) {
  for (let budget = 2; budget > 0 && parts.queue.length; ) {
    const {part, texture, data, start, from, to, last} = parts.queue.shift();
    if (last) { part.state = "ready"; continue; }
    fill(screen, screen.textures[texture], data, start, from, to); budget--;
  }
}

// shared motions of all parts that are drawn, at `time`, as the texture holds them
function motionsNow(parts, time, out) {
  for (const part of parts.shown.values()) for (const table of part.shared) {
    table.now = motionsAt(table, time, table.now || new Float64Array(table.count * 9));
    for (let b = 0; b < table.count; b++) for (let k = 0; k < 9; k++) out[4 * (3 * (table.first + b) + Math.floor(k / 3)) + k % 3] = table.now[9 * b + k];
  }
  return out;
}
