#!/bin/sh
# Builds the kernels with the address (and undefined-behaviour) and the thread sanitizer and runs their tests against each build.
# usage: benchmarks/sanitize.sh [python]      CXX, ISA (v2, v3, v4 or neon; default v3) and SANITIZERS come from the environment
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=${1:-python}
cxx=${CXX:-g++}
isa=${ISA:-v3}
case $isa in
  neon) machine="" ;;
  *) machine="-march=x86-64-$isa" ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$root/src" "$root/tests" "$work/"
rm -rf "$work/src/fourfold/kernels/lib"
mkdir -p "$work/src/fourfold/kernels/lib"
export FOURFOLD_ISA="$isa" OMP_NUM_THREADS=1 PYTHONPATH="$work/src" PYTHONDONTWRITEBYTECODE=1
export FOURFOLD_DATA="${FOURFOLD_DATA:-$root/../shared/data}"
for sanitizer in ${SANITIZERS:-address,undefined thread}; do
  echo "== -fsanitize=$sanitizer, $isa"
  # shellcheck disable=SC2086
  "$cxx" -O1 -g -fno-omit-frame-pointer -fPIC -shared -std=c++17 -pthread -fno-math-errno -fno-trapping-math -ffp-contract=fast -Wno-psabi $machine \
    "-fsanitize=$sanitizer" -fno-sanitize-recover=undefined "$work"/src/fourfold/kernels/*.cpp -o "$work/src/fourfold/kernels/lib/libfourfold_$isa.so"
  case $sanitizer in
    thread) runtime=libtsan.so tests="$work/tests/test_render_edges.py" ;;
    *) runtime=libasan.so tests="$work/tests/test_render_edges.py $work/tests/test_render_truth.py $work/tests/test_kernels_adam.py $work/tests/test_kernels_ssim.py" ;;
  esac
  # Python itself never frees everything; a child forked from a threaded process may start threads.
  # shellcheck disable=SC2086
  LD_PRELOAD="$("$cxx" -print-file-name=$runtime)" ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=die_after_fork=0:exitcode=66 \
    "$python" -m pytest -q -p no:cacheprovider -k "not memory_returns" $tests
done
