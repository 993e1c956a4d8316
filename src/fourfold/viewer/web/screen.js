// What WebGL draws with: textures that are filled bit by bit, the Gaussians, and the finished picture.

function program(gl, vertex, fragment, names) {
  const made = gl.createProgram();
  for (const [type, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(type); gl.shaderSource(shader, text); gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(made, shader);
  }
  gl.bindAttribLocation(made, 0, "corner"); gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
  return {made, at: Object.fromEntries(names.map(n => [n, gl.getUniformLocation(made, n)]))};
}

// a texture of `texels`, ROW wide, on its own unit
function store(gl, unit, texels, [inside, format, type]) {
  const high = Math.max(1, Math.ceil(texels / ROW)), texture = gl.createTexture();
  gl.activeTexture(gl.TEXTURE0 + unit); gl.bindTexture(gl.TEXTURE_2D, texture);
  for (const p of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, p, gl.NEAREST);
  gl.texStorage2D(gl.TEXTURE_2D, 1, inside, ROW, high);
  return {unit, format, type, high};
}

function makeScreen(canvas, sizes, terms) {
  const gl = canvas.getContext("webgl2", {antialias: false, alpha: false, preserveDrawingBuffer: true});
  if (!gl) return null;
  const fine = gl.getExtension("EXT_color_buffer_float") || gl.getExtension("EXT_color_buffer_half_float");
  const splats = program(gl, VERTEX, FRAGMENT, ["base", "motion", "which", "order", "motions", "palette", "worldToCamera", "eye", "lens", "viewport", "near", "time", "terms", "count"]);
  const finish = fine && program(gl, WHOLE_SCREEN, FINISH, ["gathered", "background", "dim"]);
  const words = [gl.RGBA32UI, gl.RGBA_INTEGER, gl.UNSIGNED_INT], reals = [gl.RGBA32F, gl.RGBA, gl.FLOAT];
  const textures = {
    base: store(gl, 0, 2 * sizes.gaussians, words), motion: store(gl, 1, sizes.texels, words), motions: store(gl, 2, 3 * sizes.motions, reals),
    order: store(gl, 6, sizes.gaussians, [gl.R32UI, gl.RED_INTEGER, gl.UNSIGNED_INT]),
    which: store(gl, 3, terms ? sizes.gaussians : 1, [gl.R32UI, gl.RED_INTEGER, gl.UNSIGNED_INT]), palette: store(gl, 4, sizes.palette * terms, reals),
  };
  gl.useProgram(splats.made);
  for (const [name, {unit}] of Object.entries(textures)) gl.uniform1i(splats.at[name], unit);
  gl.uniform1i(splats.at.terms, terms);
  const corners = new Float32Array(QUADS * 12), ends = new Uint16Array(QUADS * 6);
  for (let q = 0; q < QUADS; q++) { corners.set([-1, -1, q, 1, -1, q, -1, 1, q, 1, 1, q], 12 * q); ends.set([0, 1, 2, 2, 1, 3].map(k => 4 * q + k), 6 * q); }
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer()); gl.bufferData(gl.ARRAY_BUFFER, corners, gl.STATIC_DRAW);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer()); gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, ends, gl.STATIC_DRAW);
  gl.enableVertexAttribArray(0); gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 0, 0);
  gl.disable(gl.DEPTH_TEST); gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  return {gl, splats, finish, textures, count: 0, gathered: null};
}

// rows `from` to `to` of `data`, texels of a part that begins at the row `start` of the texture
function fill({gl}, texture, data, start, from, to) {
  const each = ROW * (texture.format === gl.RED_INTEGER ? 1 : 4);
  gl.activeTexture(gl.TEXTURE0 + texture.unit);
  gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, start + from, ROW, to - from, texture.format, texture.type, data, from * each);
}

// the first `count` of `rows`, filled up to whole rows of the texture, are drawn one after the other
function setOrder(screen, rows, count) {
  const {gl, textures} = screen;
  gl.activeTexture(gl.TEXTURE0 + textures.order.unit);
  gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, ROW, Math.max(1, Math.ceil(count / ROW)), gl.RED_INTEGER, gl.UNSIGNED_INT, rows);
  screen.count = count;
}

// a half-float picture in which the Gaussians are gathered: 8 bits would round at every one of them
function gatheredOf(screen, w, h) {
  const {gl} = screen, had = screen.gathered;
  if (had && had.w === w && had.h === h) return had.frame;
  if (had) { gl.deleteTexture(had.texture); gl.deleteFramebuffer(had.frame); }
  const texture = gl.createTexture(), frame = gl.createFramebuffer();
  gl.activeTexture(gl.TEXTURE5); gl.bindTexture(gl.TEXTURE_2D, texture);
  for (const p of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, p, gl.NEAREST);
  gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA16F, w, h);
  gl.bindFramebuffer(gl.FRAMEBUFFER, frame); gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  screen.gathered = {texture, frame, w, h};
  return frame;
}

// draw the Gaussians of the last order for `view` (cameras.js) at `time`
function draw(screen, view, time, {background, near, dim}, motions) {
  const {gl, splats, finish} = screen, {m, fx, fy, cx, cy, w, h} = view;
  gl.bindFramebuffer(gl.FRAMEBUFFER, finish ? gatheredOf(screen, w, h) : null);
  gl.viewport(0, 0, w, h);
  gl.clearColor(...(finish ? [0, 0, 0, 0] : [...background, 1])); gl.clear(gl.COLOR_BUFFER_BIT);
  if (motions.length) {
    gl.activeTexture(gl.TEXTURE0 + screen.textures.motions.unit);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, ROW, motions.length / ROW / 4, gl.RGBA, gl.FLOAT, motions);
  }
  gl.useProgram(splats.made); gl.enable(gl.BLEND);
  gl.uniformMatrix4fv(splats.at.worldToCamera, true, m); gl.uniform3fv(splats.at.eye, centre(m)); gl.uniform4f(splats.at.lens, fx, fy, cx, cy);
  gl.uniform2f(splats.at.viewport, w, h); gl.uniform1f(splats.at.near, near); gl.uniform1f(splats.at.time, time);
  gl.uniform1i(splats.at.count, screen.count);
  gl.drawElementsInstanced(gl.TRIANGLES, 6 * QUADS, gl.UNSIGNED_SHORT, 0, Math.ceil(screen.count / QUADS));
  if (!finish) return;
  gl.bindFramebuffer(gl.FRAMEBUFFER, null); gl.viewport(0, 0, w, h); gl.disable(gl.BLEND); gl.useProgram(finish.made);
  gl.uniform1i(finish.at.gathered, 5); gl.uniform3fv(finish.at.background, background); gl.uniform1f(finish.at.dim, dim);
  gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
}
