// The shaders: a Gaussian's motion as scene.at has it, its footprint as the rasterizer draws it (render/projection.py), alpha and light.

const QUADS = 1024;  // Gaussians that one instance draws: graphics processors do not like instances of four corners

const VERTEX = `#version 300 es
precision highp float; precision highp int; precision highp sampler2D; precision highp usampler2D;
uniform usampler2D base, motion, which, order; uniform sampler2D motions, palette;
uniform mat4 worldToCamera; uniform vec3 eye; uniform vec4 lens; uniform vec2 viewport; uniform float near, time; uniform int terms, count;
in vec3 corner;  // and which of the instance's Gaussians
out vec4 shade; out vec2 offset;

ivec2 place(int i) { return ivec2(i & ${ROW - 1}, i / ${ROW}); }
vec4 real(uvec4 w) { return uintBitsToFloat(w); }
vec4 quat(uint w) {
  vec3 v = (vec3(float(w & 1023u), float((w >> 10) & 1023u), float((w >> 20) & 1023u)) - 512.0) / 716.0;
  float r = sqrt(max(0.0, 1.0 - dot(v, v)));
  uint k = w >> 30;
  return normalize(k == 0u ? vec4(r, v) : k == 1u ? vec4(v.x, r, v.yz) : k == 2u ? vec4(v.xy, r, v.z) : vec4(v, r));
}
vec4 color(uint w) { return vec4(float(w & 255u), float((w >> 8) & 255u), float((w >> 16) & 255u), float(w >> 24)) / 255.0; }
mat3 turned(vec4 q) {
  float w = q.x, x = q.y, y = q.z, z = q.w;
  return mat3(1.0-2.0*(y*y+z*z), 2.0*(x*y+w*z), 2.0*(x*z-w*y), 2.0*(x*y-w*z), 1.0-2.0*(x*x+z*z), 2.0*(y*z+w*x), 2.0*(x*z+w*y), 2.0*(y*z-w*x), 1.0-2.0*(x*x+y*y));
}

// shared motions, straight lines and a lifetime
void course(int at, int coefficients, inout vec3 p, inout mat3 R, inout float alpha) {
  vec4 life = real(texelFetch(motion, place(at), 0)), before = real(texelFetch(motion, place(at + 1), 0)), after = real(texelFetch(motion, place(at + 2), 0));
  float beyond = max(max(life.y - time, time - life.z), 0.0) / life.w;
  alpha *= time < before.w || time >= after.w ? 0.0 : exp(-beyond * beyond);
  if (coefficients > 0) {
    vec3 first = vec3(0.0), second = vec3(0.0), shift = vec3(0.0);
    for (int i = 0; i < coefficients; i++) {
      uvec4 pairs = texelFetch(motion, place(at + 3 + i), 0);
      for (int j = 0; j < 4; j++) {
        int m = 3 * int(pairs[j] & 0xffffu); float w = float(pairs[j] >> 16) / ${WHOLE}.0;
        if (w == 0.0) continue;
        first += w * texelFetch(motions, place(m), 0).xyz; second += w * texelFetch(motions, place(m + 1), 0).xyz; shift += w * texelFetch(motions, place(m + 2), 0).xyz;
      }
    }
    vec3 x = normalize(first), y = normalize(second - dot(x, second) * x);
    mat3 T = mat3(x, y, cross(x, y));
    p = T * p + shift; R = T * R;
  }
  float since = time - life.x;
  p += since * (since < 0.0 ? before.xyz : after.xyz);
}

// keyframes
void film(int at, inout vec3 p, inout mat3 R, inout vec3 size, inout vec4 tint) {
  uvec4 about = texelFetch(motion, place(at), 0);
  int keys = int(about.x), each = int(about.y);
  float u = clamp((time - uintBitsToFloat(about.z)) * uintBitsToFloat(about.w), 0.0, float(keys - 1));
  int left = min(int(u), max(keys - 2, 0)), right = min(left + 1, keys - 1);
  float s = u - float(left);
  int a = at + 1 + left * each, b = at + 1 + right * each;
  uvec4 one = texelFetch(motion, place(a), 0), two = texelFetch(motion, place(b), 0);
  p = mix(uintBitsToFloat(one.xyz), uintBitsToFloat(two.xyz), s);
  vec4 q = quat(one.w), r = quat(two.w);
  R = turned(normalize(mix(q, dot(q, r) < 0.0 ? -r : r, s)));
  if (each == 1) return;
  uvec4 look = texelFetch(motion, place(a + 1), 0), then = texelFetch(motion, place(b + 1), 0);
  size = mix(vec3(unpackHalf2x16(look.x), unpackHalf2x16(look.y).x), vec3(unpackHalf2x16(then.x), unpackHalf2x16(then.y).x), s);
  tint = mix(color(look.z), color(then.z), s);
}

vec3 harmonics(vec3 d, int entry) {
  float x = d.x, y = d.y, z = d.z;
  float v[15] = float[15](-0.48860251190292*y, 0.48860251190292*z, -0.48860251190292*x,
    1.09254843059208*x*y, -1.09254843059208*y*z, 0.31539156525252*(2.0*z*z-x*x-y*y), -1.09254843059208*x*z, 0.54627421529604*(x*x-y*y),
    -0.59004358992664*y*(3.0*x*x-y*y), 2.89061144264055*x*y*z, -0.45704579946447*y*(4.0*z*z-x*x-y*y), 0.37317633259012*z*(2.0*z*z-3.0*x*x-3.0*y*y),
    -0.45704579946447*x*(4.0*z*z-x*x-y*y), 1.44530572132028*z*(x*x-y*y), -0.59004358992664*x*(x*x-3.0*y*y));
  vec3 sum = vec3(0.0);
  for (int j = 0; j < terms; j++) sum += v[j] * texelFetch(palette, place(entry * terms + j), 0).xyz;
  return sum;
}

void main() {
  gl_Position = vec4(0.0, 0.0, 2.0, 1.0); offset = vec2(0.0); shade = vec4(0.0);
  int at = gl_InstanceID * ${QUADS} + int(corner.z);
  if (at >= count) return;
  int row = int(texelFetch(order, place(at), 0).x);
  uvec4 one = texelFetch(base, place(2 * row), 0), two = texelFetch(base, place(2 * row + 1), 0);
  vec3 centre = uintBitsToFloat(one.xyz), size = vec3(unpackHalf2x16(two.y), unpackHalf2x16(two.z).x);
  vec4 tint = color(one.w);
  mat3 R = turned(quat(two.x));
  int kind = int(two.z >> 24);
  if (kind == ${FILMED}) film(int(two.w), centre, R, size, tint);
  else if (kind != ${STILL}) course(int(two.w), kind, centre, R, tint.a);
  vec3 p = (worldToCamera * vec4(centre, 1.0)).xyz;
  if (p.z <= near || tint.a < 1.0 / 255.0) return;
  if (terms > 0) {
    uint entry = texelFetch(which, place(row), 0).x;
    if (entry != 0xffffffffu) { vec3 d = centre - eye; float l = length(d); tint.rgb = max(vec3(0.0), tint.rgb + harmonics(l > 0.0 ? d / l : d, int(entry))); }
  }
  mat3 A = transpose(mat3(worldToCamera) * R);
  vec3 s = exp(size);
  vec2 f = lens.xy, c = lens.zw, margin = 0.15 * viewport / f;
  vec2 u = clamp(p.xy / p.z, -(c / f + margin), (viewport - c) / f + margin);
  vec3 a = f.x / p.z * s * (A[0] - u.x * A[2]), b = f.y / p.z * s * (A[1] - u.y * A[2]), area = cross(a, b);
  float sxx = dot(a, a) + 0.3, syy = dot(b, b) + 0.3, sxy = dot(a, b), det = dot(area, area) + 0.3 * (dot(a, a) + dot(b, b) + 0.3);
  float l1 = 0.5 * (sxx + syy) + length(vec2(0.5 * (sxx - syy), sxy)), l2 = det / l1;
  vec2 axis = sxx >= syy ? vec2(l1 - syy, sxy) : vec2(sxy, l1 - sxx);
  axis = dot(axis, axis) < 1e-20 ? vec2(1.0, 0.0) : normalize(axis);
  offset = corner.xy * sqrt(2.0 * log(tint.a * 255.0));
  vec2 pixel = f * p.xy / p.z + c + offset.x * sqrt(l1) * axis + offset.y * sqrt(l2) * vec2(-axis.y, axis.x);
  shade = tint;
  gl_Position = vec4(2.0 * pixel.x / viewport.x - 1.0, 1.0 - 2.0 * pixel.y / viewport.y, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float; in vec4 shade; in vec2 offset; out vec4 color;
void main() { float a = min(shade.a * exp(-0.5 * dot(offset, offset)), 0.999); if (a < 1.0 / 255.0) discard; color = vec4(shade.rgb * a, a); }`;

// what was gathered, over the background; what nobody filmed is dimmed
const WHOLE_SCREEN = `#version 300 es
in vec3 corner; void main() { gl_Position = vec4(corner.xy, 0.0, 1.0); }`;
const FINISH = `#version 300 es
precision highp float; uniform highp sampler2D gathered; uniform vec3 background; uniform float dim; out vec4 color;
void main() {
  vec4 g = texelFetch(gathered, ivec2(gl_FragCoord.xy), 0);
  vec3 c = clamp(g.rgb + (1.0 - g.a) * background, 0.0, 1.0);
  color = vec4(mix(c, vec3(dot(c, vec3(0.3, 0.59, 0.11))) * 0.35, dim), 1.0);
}`;
