#include "plan/cost_model.h"

#include <cstring>

namespace mbinfer {
namespace {

// Fitted by benchmarks/cost_model.py to the least of 15 times of about 1,700 stages of six networks, on an AMD EPYC
// (Zen 4); tiles are those of the kernels.
constexpr Costs kReal = {{14.5, 6, 1.33, 0.8, 36,
                          200,  // steps: plans in turns say 250 to 500; so much leaves plans of few products in place
                          6.4, 1.2, 2.9},
                         6,
                         2};
constexpr Costs kAvx2Bytes = {{54.9, 2.35, 4.92, 0.795, 465, 262, 7.65, 0, 2.7}, 4, 2};
constexpr Costs kVnniBytes = {{61.7, 2.16, 6.74, 0.625, 256, 357, 8.04, 0.0891, 2.81}, 8, 2};

constexpr int64_t kSecondCache = 512 << 10;

// Those that were not measured take the nearest: NEON and the reference what AVX2 does, 8 lanes in registers of which
// there are few.
struct Row {
  const char* isa;
  const Costs *real, *bytes;
};
constexpr Row kRows[] = {
    {"avx2", &kReal, &kAvx2Bytes},
    {"avxvnni", &kReal, &kVnniBytes},
    {"avx512", &kReal, &kAvx2Bytes},
    {"avx512vnni", &kReal, &kVnniBytes},
};

}  // namespace

CostModel cost_model(const std::string& isa) {
  for (const Row& row : kRows)
    if (isa == row.isa) return {*row.real, *row.bytes, kSecondCache};
  return {*kRows[0].real, *kRows[0].bytes, kSecondCache};
}

}  // namespace mbinfer
