// Pointer, touch, wheel and keys: turning, approaching and moving the camera.

const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];

function handle(canvas, state, act) {
  const held = new Map();
  canvas.onpointerdown = e => { held.set(e.pointerId, [e.clientX, e.clientY]); canvas.setPointerCapture(e.pointerId); act.touched(); };
  canvas.onpointerup = canvas.onpointercancel = e => held.delete(e.pointerId);
  canvas.onpointermove = e => {
    const before = held.get(e.pointerId); if (!before) return;
    const dx = (e.clientX - before[0]) / canvas.clientHeight, dy = (e.clientY - before[1]) / canvas.clientHeight;
    if (held.size >= 2) {
      const other = [...held].find(([id]) => id !== e.pointerId)[1], apart = (x, y) => Math.hypot(x - other[0], y - other[1]);
      act.zoom(Math.log(Math.max(apart(e.clientX, e.clientY), 1) / Math.max(apart(...before), 1)));
      act.move(-dx / 2, -dy / 2);
    } else if (e.shiftKey || e.buttons === 2) act.move(-dx, -dy);
    else act.turn(-dx * 2.5, dy * 2.5);
    held.set(e.pointerId, [e.clientX, e.clientY]);
  };
  canvas.oncontextmenu = e => e.preventDefault();
  canvas.ondblclick = () => act.home();
  canvas.addEventListener("wheel", e => { e.preventDefault(); act.zoom(-e.deltaY * 0.001); }, {passive: false});
  addEventListener("keydown", e => {
    if (e.target.closest("button, select, input") && e.code === "Space" || e.ctrlKey || e.metaKey || e.altKey) return;
    const keys = {
      Space: act.toggle, ArrowRight: () => act.step(1), ArrowLeft: () => act.step(-1), Home: () => act.seek(0), KeyL: act.loop, KeyF: act.full, KeyR: act.home, KeyT: act.trails,
      KeyM: act.menu, Period: () => act.faster(1), Comma: () => act.faster(-1), ArrowUp: () => act.zoom(0.1), ArrowDown: () => act.zoom(-0.1),
      KeyA: () => act.turn(0.1, 0), KeyD: () => act.turn(-0.1, 0), KeyW: () => act.turn(0, -0.1), KeyS: () => act.turn(0, 0.1),
    };
    if (e.target.closest("select, input") && e.code.startsWith("Arrow")) return;
    if (keys[e.code]) { e.preventDefault(); keys[e.code](); }
  });
}
