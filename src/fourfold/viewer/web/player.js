// The player: the clock, the camera, and when to draw. What is said of each Gaussian is said by the worker and the shader.

const header = JSON.parse(byId("header").textContent), note = byId("note"), canvas = byId("view"), overlay = byId("overlay");
const query = new URLSearchParams(location.search), first = header.times[0], last = header.times[1], span = Math.max(last - first, 1e-6);
const state = {
  clock: first, playing: !query.has("time"), speed: 1, loop: true, trails: false, dim: true, limit: !query.has("yaw"), hidden: 0, path: header.paths[0],
  follow: true, hold: null, swing: false, yaw: 0, pitch: 0, zoom: 0, shift: [0, 0],
};
if (query.has("time")) state.clock = first + span * (Number(query.get("time")) || 0);
if (query.has("yaw")) state.yaw = (Number(query.get("yaw")) || 0) * Math.PI / 180;
if (query.has("plain")) { document.body.classList.add("plain"); state.dim = false; }
const RESET = {yaw: 0, pitch: 0, zoom: 0, shift: [0, 0], swing: false}, BEYOND = 0.5;  // radians that the camera may leave what was filmed

const worker = new Worker(URL.createObjectURL(new Blob([byId("worker").textContent], {type: "text/javascript"})));
const parts = layout(header), motions = new Float32Array(header.motions ? whole(3 * parts.sizes.motions, ROW) * 4 : 0);
let screen = null, trails = null, order = null, waiting = false, spare = null, asked = "", drawn = "", busy = [], failed = "";

// the camera now: {m, fx, fy, cx, cy, w, h, near} and the second of the scene
function look(w, h, now) {
  const base = along(state.path, state.clock), held = state.follow ? base : state.hold, yaw = state.yaw + (state.swing ? 0.25 * Math.sin(now / 1500) : 0);
  return {view: {m: orbited(held.pose, header.focus, {...state, yaw}), ...pixels(held, w, h), near: header.near}, time: base.time};
}

// turn the camera unless that leads further away from what was filmed than is allowed
function turnBy(yaw, pitch) {
  const base = (state.follow ? along(state.path, state.clock) : state.hold).pose, far = s => unseen(orbited(base, header.focus, s), header.focus, header.seen);
  const turned = {...state, yaw: state.yaw + yaw, pitch: clamp(state.pitch + pitch, -1.4, 1.4)};
  if (state.limit && far(turned) > BEYOND && far(turned) > far(state)) { hint("Not filmed from there. \"Keep to what was filmed\" in the menu lets you go on."); return; }
  state.yaw = turned.yaw; state.pitch = turned.pitch;
}

function hint(text) { note.textContent = text; note.hidden = !text; }

const act = {
  toggle: () => { if (!state.playing && !state.loop && state.clock >= last) state.clock = first; state.playing = !state.playing; },
  seek: share => { state.clock = first + span * clamp(share, 0, 1); state.playing = false; },
  step: n => { state.clock = clamp(state.clock + n * header.interval, first, last); state.playing = false; },
  turn: turnBy, zoom: amount => { state.zoom = clamp(state.zoom + amount, -3, 3); }, move: (x, y) => { state.shift = [state.shift[0] + x, state.shift[1] + y]; },
  home: () => { Object.assign(state, RESET); state.follow = true; state.hold = null; },
  follow: () => { const follow = !state.follow; if (!follow) state.hold = along(state.path, state.clock); else Object.assign(state, RESET); state.follow = follow; },
  path: i => { state.path = header.paths[i]; act.home(); },
  loop: () => { state.loop = !state.loop; }, trails: () => { state.trails = !state.trails; },
  faster: n => { state.speed = SPEEDS[clamp(SPEEDS.indexOf(state.speed) + n, 0, SPEEDS.length - 1)]; },
  full: () => { if (document.fullscreenElement) document.exitFullscreen(); else document.documentElement.requestFullscreen().catch(() => {}); },
  menu: () => { byId("menu").hidden = !byId("menu").hidden; },
  touched: () => { hint(""); },
};

worker.onmessage = ({data}) => {
  if (data.kind === "part") { arrived(parts, data); if (data.trails) trails = data.trails; }
  else if (data.kind === "order") { waiting = false; order = data; }
  else { failed = data.message; hint("The player could not unpack the scene: " + failed); }
};
worker.onerror = error => hint("The player could not start: " + (error.message || "its worker is not allowed here"));

function progress() {
  const done = parts.list[0].state === "ready" ? 1 : parts.list[0].state === "filling" ? 0.6 + 0.4 / (1 + parts.queue.length) : 0.3;
  say("loading", "hidden", done === 1); say("loading", "value", done);
}

// one frame; `measured` takes out what WebGL does
function frame(now) {
  const begun = performance.now();
  let away = 0; const drawing = f => { const since = performance.now(); f(); away += performance.now() - since; };
  tick(now);
  const ratio = Math.min(devicePixelRatio || 1, 2), w = Math.max(1, Math.round(canvas.clientWidth * ratio)), h = Math.max(1, Math.round(canvas.clientHeight * ratio));
  const {view, time} = look(w, h, now), ready = want(parts, worker, time);
  drawing(() => fillSome(parts, screen));
  const key = [time, state.hidden, ...[...parts.shown.values()].map(p => p.number), ...view.m, view.fx, view.fy, view.cx, view.cy, w, h].join();
  if (!waiting && parts.shown.has(-1) && asked !== key) {
    const shown = [...parts.shown.values()].map(p => ({number: p.number, first: p.starts.first}));
    worker.postMessage({time, view, shown, hidden: state.hidden, stamp: key, buffer: spare}, spare ? [spare] : []);
    spare = null; waiting = true; asked = key;
  }
  if (order) drawing(() => { setOrder(screen, new Uint32Array(order.buffer), order.count); });
  const dim = state.dim ? clamp((unseen(view.m, header.focus, header.seen) - 0.35) / 0.6, 0, 1) * 0.8 : 0, picture = key + dim + state.trails;
  const sortedFor = order ? order.stamp : screen.sorted;
  if (sortedFor && (order || drawn !== picture)) {
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    const table = motionsNow(parts, time, motions);
    drawing(() => draw(screen, view, time, {background: header.background, near: header.near, dim}, table));
    overlay.hidden = !(state.trails && trails);
    if (!overlay.hidden) drawTrails(overlay, trails, view, time);
    drawn = picture;
  }
  if (order) { spare = order.buffer; screen.sorted = order.stamp; order = null; }
  if (ready && screen.sorted === key && drawn === picture && !parts.queue.length) {
    if (document.body.dataset.drawn !== "yes") { document.body.dataset.drawn = "yes"; byId("poster").hidden = true; }
  } else if (!state.playing) document.body.dataset.drawn = "no";
  if (screen.sorted) byId("poster").hidden = true;
  progress();
  if (!together) tellPanel(state, (state.clock - first) / span, time);
  measure(performance.now() - begun - away);
  requestAnimationFrame(frame);
}

// milliseconds of this thread besides drawing: the median of the last 60 frames, and the number of frames
function measure(ms) {
  busy.push(ms); if (busy.length > 60) busy.shift();
  frames++;
  if (frames % 20 === 0) { document.body.dataset.busy = [...busy].sort((a, b) => a - b)[busy.length >> 1].toFixed(3); document.body.dataset.frames = frames; }
}
let frames = 0, previous = performance.now();

function tick(now) {
  const dt = Math.min(0.1, Math.max(0, now - previous) / 1000); previous = now;
  if (!state.playing || !screen.sorted) return;
  state.clock += dt * state.speed;
  if (state.clock > last) { if (state.loop) state.clock = first; else { state.clock = last; state.playing = false; } }
}

function start() {
  screen = makeScreen(canvas, parts.sizes, header.terms);
  if (!screen) { hint("This browser has no WebGL 2, which the player needs."); return; }
  canvas.addEventListener("webglcontextlost", e => { e.preventDefault(); hint("The graphics card gave up on this scene: reload the page."); });
  worker.postMessage({kind: "start", tick: header.tick, terms: header.terms});
  makePanel(header, state, act);
  handle(canvas, state, act);
  requestAnimationFrame(frame);
}
