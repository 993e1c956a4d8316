// Beside others on a comparison page, the page keeps the clock and hands every turn of the camera on to all.

const shared = ["yaw", "pitch", "zoom", "shift", "follow", "swing"], told = () => JSON.stringify(shared.map(k => state[k]));
const together = window.name === "fourfold-compared";
let heard = told();
if (together) {
  document.body.classList.add("plain"); state.playing = false; state.limit = false;
  addEventListener("message", e => {
    const news = e.data && e.data.fourfold; if (!news) return;
    if ("time" in news) state.clock = clamp(news.time, first, last);
    if (news.focus) header.focus = news.focus;
    if (news.camera) { if (state.follow && !news.camera.follow) state.hold = along(state.path, state.clock); Object.assign(state, news.camera); heard = told(); }
  });
  parent.postMessage({fourfold: {ready: [first, last], focus: header.focus}}, "*");
  setInterval(() => { if (told() !== heard) { heard = told(); parent.postMessage({fourfold: {camera: Object.fromEntries(shared.map(k => [k, state[k]]))}}, "*"); } }, 30);
}
try { start(); } catch (error) { hint("The player could not start: " + error.message); }
