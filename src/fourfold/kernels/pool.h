// A persistent thread pool shared by every kernel of this library.
//
// Threads watch for the next job for some 20 microseconds, because a pass is several loops in a row, and then sleep on a condition
// variable, so that torch's own threads are left alone. Any number of Python threads may call at once: each caller works on its own job
// and idle pool threads join the oldest open one.
#pragma once

#include <cstddef>
#include <type_traits>

namespace fourfold {

using TaskBody = void (*)(void* state, int task);

// Runs body(state, i) for every i in [0, tasks), in unspecified order, and returns when all are done. The caller takes part.
// Nested calls are allowed. An exception of a task is rethrown here after the other threads have left the job.
void run_tasks(int tasks, TaskBody body, void* state);

// The number of threads a job may use, the caller included.
int thread_count();

// parallel_for(tasks, [&](int task) { ... });
template <class F>
void parallel_for(int tasks, F&& body) {
  using Body = std::remove_reference_t<F>;
  run_tasks(tasks, [](void* state, int task) { (*static_cast<Body*>(state))(task); }, const_cast<std::remove_const_t<Body>*>(&body));
}

// parallel_chunks(n, size, [&](int chunk, std::size_t begin, std::size_t end) { ... }): [0, n) in chunks of fixed size, so that
// what a chunk does never depends on the number of threads.
template <class F>
void parallel_chunks(std::size_t n, std::size_t size, F&& body) {
  const int chunks = static_cast<int>((n + size - 1) / size);
  parallel_for(chunks, [&](int chunk) {
    const std::size_t begin = static_cast<std::size_t>(chunk) * size;
    body(chunk, begin, begin + size < n ? begin + size : n);
  });
}

}  // namespace fourfold

extern "C" {
void ff_set_threads(int threads);  // clamped to [1, 256]
int ff_get_threads(void);
}
