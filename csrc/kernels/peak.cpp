#include "kernels/peak.h"

#include <algorithm>
#include <chrono>

namespace mbinfer {

double peak_rate(const KernelTable& kernels, double seconds) {
  using Clock = std::chrono::steady_clock;
  const float values[kPeakValues] = {};
  float sums[kPeakSums] = {};
  double best = 0;
  int rounds = 100;
  for (const Clock::time_point start = Clock::now();
       std::chrono::duration<double>(Clock::now() - start).count() < seconds;) {
    const Clock::time_point begin = Clock::now();
    const double count = double(kernels.multiply_adds(values, sums, rounds));
    const double took = std::chrono::duration<double>(Clock::now() - begin).count();
    best = std::max(best, count / std::max(took, 1e-9));
    if (took < 1e-4) rounds *= 2;  // long enough for the clock, short enough to fall between two interruptions
  }
  return best;
}

}  // namespace mbinfer
