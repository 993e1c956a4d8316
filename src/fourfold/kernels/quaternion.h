// Vectors and quaternions (w, v) of floats, or of vectors of floats that are computed side by side.
#pragma once

namespace fourfold {

template <class T>
struct VecOf {
  T x, y, z;
};
using Vec = VecOf<float>;
template <class T>
inline VecOf<T> operator+(VecOf<T> a, VecOf<T> b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z};
}
template <class T>
inline VecOf<T> operator-(VecOf<T> a, VecOf<T> b) {
  return {a.x - b.x, a.y - b.y, a.z - b.z};
}
template <class S, class T>
inline VecOf<T> operator*(S s, VecOf<T> a) {
  return {a.x * s, a.y * s, a.z * s};
}
template <class T>
inline T dot(VecOf<T> a, VecOf<T> b) {
  return a.x * b.x + a.y * b.y + a.z * b.z;
}
template <class T>
inline VecOf<T> cross(VecOf<T> a, VecOf<T> b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
inline Vec vec(const float* p) { return {p[0], p[1], p[2]}; }
inline void put(float* to, Vec v) { to[0] = v.x, to[1] = v.y, to[2] = v.z; }

template <class T>
struct QuatOf {
  T w;
  VecOf<T> v;
};
using Quat = QuatOf<float>;
template <class T>
inline QuatOf<T> operator*(QuatOf<T> a, QuatOf<T> b) {
  return {a.w * b.w - dot(a.v, b.v), a.w * b.v + b.w * a.v + cross(a.v, b.v)};
}
template <class T>
inline QuatOf<T> operator+(QuatOf<T> a, QuatOf<T> b) {
  return {a.w + b.w, a.v + b.v};
}
template <class T>
inline T dot(QuatOf<T> a, QuatOf<T> b) {
  return a.w * b.w + dot(a.v, b.v);
}
template <class T>
inline QuatOf<T> conjugate(QuatOf<T> a) {
  return {a.w, -1.f * a.v};
}
inline Quat quat(const float* p) { return {p[0], vec(p + 1)}; }
inline void put(float* to, Quat q) { to[0] = q.w, put(to + 1, q.v); }

}  // namespace fourfold
