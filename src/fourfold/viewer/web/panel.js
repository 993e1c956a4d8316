// The bar and the menu: what can be chosen, told and switched.

const byId = id => document.getElementById(id);

function fillChoice(select, names, chosen) {
  select.replaceChildren(...names.map((name, i) => { const o = document.createElement("option"); o.value = i; o.textContent = name; return o; }));
  select.value = chosen;
}

function makePanel(header, state, act) {
  document.title = header.name + " · Fourfold";
  byId("name").textContent = header.name;
  byId("exactness").textContent = header.told;
  fillChoice(byId("path"), header.paths.map(p => p.name), 0);
  fillChoice(byId("speed"), SPEEDS.map(s => s + "x"), SPEEDS.indexOf(1));
  byId("path").onchange = () => act.path(Number(byId("path").value));
  byId("speed").onchange = () => { state.speed = SPEEDS[byId("speed").value]; };
  for (const [id, name] of [["loop", "loop"], ["showTrails", "trails"], ["swing", "swing"], ["dim", "dim"], ["limit", "limit"]]) byId(id).onchange = () => { state[name] = byId(id).checked; };
  byId("layers").replaceChildren(...header.layers.map((layer, i) => {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox"; box.checked = true; box.onchange = () => { state.hidden = box.checked ? state.hidden & ~(1 << i) : state.hidden | (1 << i); };
    label.append(box, layer); return label;
  }));
  byId("play").onclick = act.toggle; byId("film").onclick = act.follow; byId("full").onclick = act.full; byId("more").onclick = act.menu; byId("home").onclick = act.home;
  byId("time").oninput = () => { act.seek(Number(byId("time").value)); };
}

// what changes from frame to frame; elements are only touched where they say something else
const said = new Map();
function say(id, property, value) {
  if (said.get(id + property) === value) return;
  said.set(id + property, value); byId(id)[property] = value;
}

function tellPanel(state, share, seconds) {
  say("time", "value", share.toFixed(4)); say("clock", "textContent", seconds.toFixed(2) + " s");
  say("play", "textContent", state.playing ? "Pause" : "Play"); say("film", "ariaPressed", String(state.follow));
  say("speed", "value", String(SPEEDS.indexOf(state.speed)));
  for (const [id, name] of [["loop", "loop"], ["showTrails", "trails"], ["swing", "swing"], ["dim", "dim"], ["limit", "limit"]]) say(id, "checked", state[name]);
}
