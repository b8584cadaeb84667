#include "exec/machine.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace mbinfer {
namespace {

// Those of most cores of boards; a size out of these bounds is a mistake of whoever says it.
constexpr Machine kNearest = {32 << 10, 512 << 10}, kLeast = {4 << 10, 32 << 10}, kMost = {1 << 20, 64 << 20};

Machine checked(int64_t first, int64_t second) {
  Machine machine = kNearest;
  if (first >= kLeast.first_cache && first <= kMost.first_cache) machine.first_cache = first;
  if (second >= kLeast.second_cache && second <= kMost.second_cache) machine.second_cache = second;
  return machine;
}

// "512K": bytes; 0 where there is no such file, or something else in it.
int64_t size_in(const std::string& path) {
  char text[32] = {};
  FILE* file = std::fopen(path.c_str(), "re");
  if (!file) return 0;
  const bool read = std::fgets(text, sizeof text, file);
  std::fclose(file);
  char* end = text;
  const long size = read ? std::strtol(text, &end, 10) : 0;
  if (size <= 0 || size > (1 << 20)) return 0;
  return *end == 'K' ? int64_t(size) << 10 : *end == 'M' ? int64_t(size) << 20 : size;
}

Machine this_machine() {
#ifdef _SC_LEVEL1_DCACHE_SIZE
  const int64_t first = sysconf(_SC_LEVEL1_DCACHE_SIZE), second = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (first > 0 && second > 0) return checked(first, second);
#endif
  return machine_by_files("/sys/devices/system/cpu/cpu0/cache");
}

}  // namespace

Machine machine_by_files(const std::string& folder) {
  return checked(size_in(folder + "/index0/size"), size_in(folder + "/index2/size"));
}

const Machine& machine() {
  static const Machine machine = this_machine();
  return machine;
}

}  // namespace mbinfer
