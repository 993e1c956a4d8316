// Loads a kernel library and calls its functions for another process, which sends calls through standard input: tests/foreign_kernels.py.
//
// A call: the function's name, then its arguments, each an integer ('i'), a float ('f') or memory ('p': a buffer and what its pointers
// point to). The answer: the function's result, then all memory as the function left it. Built for the library's platform, run by an emulator.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#include <windows.h>
static void* open_library(const char* path) { return reinterpret_cast<void*>(LoadLibraryA(path)); }
static void* find(void* library, const char* name) { return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name)); }
#else
#include <dlfcn.h>
static void* open_library(const char* path) { return dlopen(path, RTLD_NOW | RTLD_LOCAL); }
static void* find(void* library, const char* name) { return dlsym(library, name); }
#endif

namespace {

using Word = std::int64_t;
constexpr std::size_t kMostArguments = 14;

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "foreign_host: %s\n", why.c_str());
  std::exit(3);
}

void take(void* to, std::size_t bytes) {
  if (bytes > 0 && std::fread(to, 1, bytes, stdin) != bytes) std::exit(0);  // the other side is gone
}
void give(const void* from, std::size_t bytes) {
  if (bytes > 0 && std::fwrite(from, 1, bytes, stdout) != bytes) std::exit(0);
}
template <class T>
T number() {
  T value;
  take(&value, sizeof value);
  return value;
}

// A buffer aligned as torch aligns its own; null for a negative size.
struct Memory {
  Word size = -1;
  std::vector<unsigned char> bytes;
  unsigned char* data = nullptr;

  void receive() {
    size = number<Word>();
    if (size < 0) return;
    bytes.resize(static_cast<std::size_t>(size) + 64);
    data = bytes.data() + (64 - reinterpret_cast<std::uintptr_t>(bytes.data()) % 64);
    take(data, static_cast<std::size_t>(size));
  }
  void send() const {
    if (size > 0) give(data, static_cast<std::size_t>(size));
  }
};

struct Argument {
  char kind = 'i';
  Word word = 0;
  float real = 0;
  Memory memory;
  std::vector<Memory> inner;

  void receive() {
    kind = number<char>();
    if (kind == 'i') {
      word = number<Word>();
    } else if (kind == 'f') {
      real = number<float>();
    } else {
      memory.receive();
      word = static_cast<Word>(reinterpret_cast<std::intptr_t>(memory.data));
      const auto pointers = static_cast<std::size_t>(number<std::int32_t>());
      inner.resize(pointers);
      for (Memory& target : inner) {
        const Word offset = number<Word>();
        target.receive();
        std::memcpy(memory.data + offset, &target.data, sizeof target.data);
      }
    }
  }
  void send() const {
    memory.send();
    for (const Memory& target : inner) target.send();
  }
};

// Surplus words do no harm in any calling convention where the caller cleans up. A float travels in a register of its own kind, so that each
// order of words and floats is a type of function: bit i of kFloats stands for a float at place i.
template <unsigned kFloats, std::size_t... kPlaces>
Word call_as(void* function, const std::vector<Argument>& a, std::index_sequence<kPlaces...>) {
  using Function = Word (*)(std::conditional_t<(kFloats >> kPlaces) & 1u, float, Word>...);
  const auto given = [&a](auto is_float, std::size_t place) {
    if constexpr (is_float.value) {
      return a[place].real;
    } else {
      return place < a.size() ? a[place].word : Word(0);
    }
  };
  return reinterpret_cast<Function>(function)(given(std::bool_constant<((kFloats >> kPlaces) & 1u) != 0>(), kPlaces)...);
}

template <unsigned kFloats, unsigned... kOthers>
Word call_floats(unsigned floats, void* function, const std::vector<Argument>& a) {
  if (floats == kFloats) return call_as<kFloats>(function, a, std::make_index_sequence<kMostArguments>());
  if constexpr (sizeof...(kOthers) > 0) {
    return call_floats<kOthers...>(floats, function, a);
  }
  stop("floats at places where no kernel has them");
  return 0;
}

Word call(void* function, const std::vector<Argument>& a) {
  unsigned floats = 0;
  for (std::size_t i = 0; i < a.size(); ++i) floats |= (a[i].kind == 'f' ? 1u : 0u) << i;
  return call_floats<0u, 1u << 2, 1u << 3, 3u << 3, 1u << 5, 7u << 5, 1u << 6, 1u << 8>(floats, function, a);
}

}  // namespace

int main(int count, char** words) {
#ifdef _WIN32
  _setmode(_fileno(stdin), _O_BINARY), _setmode(_fileno(stdout), _O_BINARY);
#endif
  void* library = count == 2 ? open_library(words[1]) : nullptr;
  if (library == nullptr) stop("the library cannot be loaded");
  for (;;) {
    std::string name(static_cast<std::size_t>(number<std::int32_t>()), ' ');
    take(&name[0], name.size());
    std::vector<Argument> arguments(static_cast<std::size_t>(number<std::int32_t>()));
    if (arguments.size() > kMostArguments) stop("too many arguments for " + name);
    for (Argument& argument : arguments) argument.receive();
    void* function = find(library, name.c_str());
    if (function == nullptr) stop("the library has no " + name);
    const Word result = call(function, arguments);
    give(&result, sizeof result);
    for (const Argument& argument : arguments) argument.send();
    std::fflush(stdout);
  }
}
