// Vectors and quaternions (w, v) of floats.
#pragma once

namespace fourfold {

struct Vec {
  float x, y, z;
};
inline Vec operator+(Vec a, Vec b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
inline Vec operator-(Vec a, Vec b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline Vec operator*(float s, Vec a) { return {a.x * s, a.y * s, a.z * s}; }
inline float dot(Vec a, Vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline Vec cross(Vec a, Vec b) { return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}; }
inline Vec vec(const float* p) { return {p[0], p[1], p[2]}; }
inline void put(float* to, Vec v) { to[0] = v.x, to[1] = v.y, to[2] = v.z; }

struct Quat {
  float w;
  Vec v;
};
inline Quat operator*(Quat a, Quat b) { return {a.w * b.w - dot(a.v, b.v), a.w * b.v + b.w * a.v + cross(a.v, b.v)}; }
inline float dot(Quat a, Quat b) { return a.w * b.w + dot(a.v, b.v); }
inline Quat conjugate(Quat a) { return {a.w, -1.f * a.v}; }
inline Quat operator+(Quat a, Quat b) { return {a.w + b.w, a.v + b.v}; }
inline Quat quat(const float* p) { return {p[0], vec(p + 1)}; }
inline void put(float* to, Quat q) { to[0] = q.w, put(to + 1, q.v); }

}  // namespace fourfold
