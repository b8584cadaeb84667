// Every constant of the planner that was chosen by measurement, beside what was measured.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mbinfer {

constexpr double kNearFastest = 1.01;           // of the fastest plan's cycles: no search for less
constexpr int64_t kScratchInCache = 256 << 10;  // of a stage, beside its weights and rows in a second-level cache

constexpr int kMostTries = 4;  // to make a plan whose placement fits

// --- what one search may take ---
// Work is counted in steps of about a nanosecond to ten.

constexpr int64_t kOrderWork = 1 << 20;      // stages and readers looked at
constexpr int64_t kPlacementWork = 1 << 17;  // pairs of blocks looked at
constexpr int64_t kSearchWork = 1 << 21;     // paths and rows looked at; MobileNetV2 1.4@224 takes 0.36 million
constexpr int64_t kShare = 4;                // of that one stage's segments may take, of what would be its even share
constexpr int kMostPaths = 1 << 13;          // held for the segments from one stage on; MobileNetV2 1.4@224 needs 3,116
constexpr size_t kSearchBlock = 192 << 10;   // bytes taken at once: what malloc maps; MobileNetV2 1.4@224 takes one
constexpr int kWindow = 64;                  // stages searched together
constexpr int kWindowOptions = 1 << 12;      // of all of them, in a network of several windows
constexpr int64_t kStrips = 1 << 14;  // rows looked at one by one, over all stages; MobileNetV2 1.0@224 has 1,000
constexpr int kFewestStrips = 4;      // that a map may be cut into in any network

}  // namespace mbinfer
