// FF_INDEPENDENT before a loop: no round of it reads what another one writes. The compiler cannot know it of rows that lie in one array.
#pragma once

#ifdef __clang__
#define FF_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define FF_INDEPENDENT _Pragma("GCC ivdep")
#endif
