#include "capi_options.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

namespace mbinfer {
namespace {

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::kArgument, message); }

// Every layout that a release had, oldest first: a program that was compiled then goes on working. A larger struct is
// of a later header: what this library does not know of it has to be zero, which is the default of every option to
// come.
constexpr size_t kLayouts[] = {offsetof(mbi_options, copy), offsetof(mbi_options, most_recomputed),
                               sizeof(mbi_options)};
constexpr size_t kMaxOptions = 1024;

}  // namespace

mbi_options default_options() {
  mbi_options options = {};
  options.size = sizeof options;
  options.threads = 1;
  options.memory_limit = MBI_NO_LIMIT;
  options.schedule = "auto";
  options.recompute = 1;
  return options;
}

void require_size(size_t size) {
  if (size > sizeof(mbi_options) && size <= kMaxOptions) return;
  for (size_t known : kLayouts)
    if (size == known) return;
  refuse("mbi_options of " + std::to_string(size) + " bytes, this library's has " +
         std::to_string(sizeof(mbi_options)) + "; set options up by mbi_options_init");
}

mbi_options known_options(const mbi_options* options) {
  mbi_options given = default_options();
  if (!options) return given;
  require_size(options->size);
  const auto* bytes = reinterpret_cast<const unsigned char*>(options);
  for (size_t i = sizeof given; i < options->size; i++)
    if (bytes[i])
      refuse(
          "an option of a later header is set, which this library does not know; it is of "
          "version " MBINFER_VERSION);
  std::memcpy(&given, options, std::min(options->size, sizeof given));
  return given;
}

SessionOptions session_options(const mbi_options& given) {
  if (!given.schedule) refuse("schedule is NULL");
  if (given.memory_limit < MBI_LEAST_MEMORY)
    refuse("memory_limit is " + std::to_string(given.memory_limit) + ", give bytes, MBI_NO_LIMIT or MBI_LEAST_MEMORY");
  SessionOptions options;
  options.plan.schedule = schedule_from_name(given.schedule);
  options.plan.least = given.memory_limit == MBI_LEAST_MEMORY;
  options.plan.memory_limit = options.plan.least ? -1 : given.memory_limit;
  options.plan.threads = given.threads;
  options.plan.chunks = given.chunks;
  options.plan.recompute = !given.recompute ? 0 : given.most_recomputed ? given.most_recomputed : INFINITY;
  const char* isa = given.isa ? given.isa : std::getenv("MBINFER_ISA");
  options.isa = isa ? isa : "";
  options.plan_only = given.plan_only != 0;
  check_options(options);
  return options;
}

}  // namespace mbinfer
