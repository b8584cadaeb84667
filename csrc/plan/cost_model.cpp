#include "plan/cost_model.h"

namespace mbinfer {
namespace {

// Fitted by benchmarks/cost_model.py to the least of 15 times of about 1,700 stages of six networks, on an AMD EPYC
// (Zen 4), of which 89 to 92 % are then within 20 % of their times; tiles are those of the kernels. A multiplication of
// a 14x2 tile in 16 lanes counts for two panels, as that of a 6x2 one in 8. On an Intel Xeon (Ice Lake), where far
// rows and weights cost more, the plans of constants fitted there took 0.97 of the time for MobileNetV2 1.0@224 in 1.27
// of the bytes, for V1 0.99 in 1.19, and in int8 1.05 and 0.99 in 1.07 and 1.17: these stay.
constexpr Costs kAvx2Real = {{3.03, 6.14, 3.48, 0.449, 102, 336, 5.43, 1.33, 2.82}, 6, 2};
constexpr Costs kAvx2Bytes = {{54.9, 2.35, 4.92, 0.795, 465, 262, 7.65, 0, 2.7}, 4, 2};
constexpr Costs kAvx512Real = {{32.8, 13, 1.97, 0.496, 143, 145, 4.52, 0, 1.65}, 14, 2};
constexpr Costs kVnniBytes = {{61.7, 2.16, 6.74, 0.625, 256, 357, 8.04, 0.0891, 2.81}, 8, 2};

constexpr int64_t kSecondCache = 512 << 10;

// Those that were not measured take the nearest: NEON and the reference what AVX2 does, 8 lanes in registers of which
// there are few.
struct Row {
  const char* isa;
  const Costs *real, *bytes;
};
constexpr Row kRows[] = {
    {"avx2", &kAvx2Real, &kAvx2Bytes},
    {"avxvnni", &kAvx2Real, &kVnniBytes},
    {"avx512", &kAvx512Real, &kAvx2Bytes},
    {"avx512vnni", &kAvx512Real, &kVnniBytes},
};

}  // namespace

CostModel cost_model(const std::string& isa) {
  for (const Row& row : kRows)
    if (isa == row.isa) return {*row.real, *row.bytes, kSecondCache};
  return {*kRows[0].real, *kRows[0].bytes, kSecondCache};
}

}  // namespace mbinfer
