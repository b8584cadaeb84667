// Every constant of the planner that was chosen by measurement, beside what was measured.
#pragma once

#include <cstdint>

namespace mbinfer {

constexpr double kNearFastest = 1.01;           // of the fastest plan's cycles: no search for less
constexpr int64_t kScratchInCache = 256 << 10;  // of a stage, beside its weights and rows in a second-level cache

constexpr int kMostTries = 4;  // to make a plan whose placement fits

// --- work that one search may take, about a nanosecond to ten each ---

constexpr int64_t kOrderWork = 1 << 20;      // stages and readers looked at
constexpr int64_t kPlacementWork = 1 << 17;  // pairs of blocks looked at
constexpr int64_t kSearchWork = 1 << 21;     // paths and rows looked at

}  // namespace mbinfer
