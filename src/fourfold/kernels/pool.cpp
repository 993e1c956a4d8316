#include "pool.h"

#ifndef _WIN32
#include <pthread.h>
#endif
#ifdef __linux__
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

namespace fourfold {
namespace {

constexpr int kMaxThreads = 256;
constexpr int kSpins = 1000;  // pauses, some 20 microseconds: longer than the serial work between two loops of a pass, shorter than a nap

// One short pause of a thread that watches a variable.
inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

template <class F>
void spin_until(F&& done) {
  for (int i = 0; i < kSpins && !done(); ++i) relax();
}

struct Job {
  TaskBody body;
  void* state;
  int tasks;
  int seats;       // pool threads that may still join (guarded by the pool's mutex)
  std::atomic<int> active{0};  // pool threads at work on it (changed under the pool's mutex)
  std::atomic<int> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;  // written by the one thread that set `failed`
  std::condition_variable left;

  void work() {
    for (int task; !failed.load(std::memory_order_relaxed) && (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
      try {
        body(state, task);
      } catch (...) {
        if (!failed.exchange(true)) error = std::current_exception();
      }
    }
  }
};

class Pool {
 public:
  void run(Job& job) {
    const int helpers = job.seats;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      grow(helpers);
      open_.push_back(&job);
      open_count_.store(static_cast<int>(open_.size()));
    }
    if (helpers == 1) {
      wake_.notify_one();
    } else {
      wake_.notify_all();
    }
    job.work();
    std::unique_lock<std::mutex> lock(mutex_);
    close(&job);
    if (job.active != 0) {
      lock.unlock();
      spin_until([&] { return job.active.load() == 0; });
      lock.lock();
    }
    job.left.wait(lock, [&] { return job.active == 0; });
  }

 private:
  void grow(int helpers) {
    for (; helpers_ < helpers; ++helpers_) std::thread([this] { serve(); }).detach();
  }

  void close(Job* job) {
    const auto place = std::find(open_.begin(), open_.end(), job);
    if (place != open_.end()) open_.erase(place);
    open_count_.store(static_cast<int>(open_.size()));
  }

  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return !open_.empty(); });
      Job* job = open_.front();
      ++job->active;
      if (--job->seats == 0) close(job);
      lock.unlock();
      job->work();
      lock.lock();
      close(job);
      if (--job->active == 0) job->left.notify_all();
      if (!open_.empty()) continue;
      lock.unlock();
      spin_until([&] { return open_count_.load() != 0; });
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job*> open_;  // jobs with free seats, oldest first
  std::atomic<int> open_count_{0};  // open_.size(), for those who watch it without the mutex
  int helpers_ = 0;
};

std::atomic<int> g_threads{0};
alignas(Pool) unsigned char g_storage[sizeof(Pool)];
std::atomic<Pool*> g_pool{nullptr};
std::once_flag g_once;

#ifndef _WIN32
// A forked child inherits no threads and perhaps a locked mutex: it gets a fresh pool. The old one is never destroyed, here
// and at exit, because its detached threads may still sleep on it.
void renew_after_fork() { g_pool.store(new (g_storage) Pool); }
#endif

Pool& pool() {
  std::call_once(g_once, [] {
    g_pool.store(new (g_storage) Pool);
#ifndef _WIN32
    pthread_atfork(nullptr, nullptr, renew_after_fork);
#endif
  });
  return *g_pool.load();
}

// Cores this process may run on: fewer than the machine has under taskset or in a container.
int usable_cores() {
#ifdef __linux__
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return CPU_COUNT(&allowed);
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

int thread_count() {
  const int asked = g_threads.load(std::memory_order_relaxed);
  if (asked > 0) return asked;
  return std::clamp(usable_cores(), 1, kMaxThreads);
}

void run_tasks(int tasks, TaskBody body, void* state) {
  const int helpers = std::min(thread_count(), tasks) - 1;
  if (helpers <= 0) {
    for (int task = 0; task < tasks; ++task) body(state, task);
    return;
  }
  Job job{body, state, tasks, helpers};
  pool().run(job);
  if (job.failed.load()) std::rethrow_exception(job.error);
}

}  // namespace fourfold

extern "C" {
void ff_set_threads(int threads) { fourfold::g_threads.store(std::clamp(threads, 1, fourfold::kMaxThreads)); }
int ff_get_threads(void) { return fourfold::thread_count(); }
}
