// A tile of one to five pixels by a pair of panels on aarch64 with dot products, from where its sums begin to the sums.
// Inputs are multiplied in by lane, each with a row of 64 bytes of weights: floats by FMLA, four bytes by SDOT.
// Included by tile_neon.h only.
#pragma once

namespace mbinfer {
namespace {

// v12 to v15 are the sums of the first pixel, whose inputs x9 points to, v16 to v19 of the second, and so on. Symptom:
// GCC copies where sums begin for each pixel, loads two registers of weights at most at once and moves pointers by
// themselves. Remedy: registers that are named, four of weights in a load. Gain, for four rows of weights and five
// pixels: 91 instructions in place of 97 (floats), 96 in place of 102 (bytes), and 5 in place of 20 to 38 that begin a
// tile.
#define MBI_FMLA(lane, x, sum, w) "fmla v" sum ".4s, v" w ".4s, v" x ".s[" lane "]\n"
#define MBI_SDOT(lane, x, sum, w) "sdot v" sum ".4s, v" w ".16b, v" x ".4b[" lane "]\n"

#define MBI_ROW(multiply, lane, x, a, b, c, d) \
  multiply(lane, x, a, "0") multiply(lane, x, b, "1") multiply(lane, x, c, "2") multiply(lane, x, d, "3")
#define MBI_ROW_1(multiply, lane) MBI_ROW(multiply, lane, "4", "12", "13", "14", "15")
#define MBI_ROW_2(multiply, lane) MBI_ROW_1(multiply, lane) MBI_ROW(multiply, lane, "5", "16", "17", "18", "19")
#define MBI_ROW_3(multiply, lane) MBI_ROW_2(multiply, lane) MBI_ROW(multiply, lane, "6", "20", "21", "22", "23")
#define MBI_ROW_4(multiply, lane) MBI_ROW_3(multiply, lane) MBI_ROW(multiply, lane, "7", "24", "25", "26", "27")
#define MBI_ROW_5(multiply, lane) MBI_ROW_4(multiply, lane) MBI_ROW(multiply, lane, "8", "28", "29", "30", "31")

// One pixel by four pairs of panels, whose weights x15, x11, x12 and x13 point to.
#define MBI_OTHER_ROW(multiply, lane, a, b, c, d) \
  multiply(lane, "4", a, "5") multiply(lane, "4", b, "6") multiply(lane, "4", c, "7") multiply(lane, "4", d, "8")
#define MBI_LOADED(first, last, from) "ld1 {v" first ".16b - v" last ".16b}, [" from "], #64\n"
#define MBI_ROW_PAIRS(multiply, lane)                   \
  MBI_LOADED("5", "8", "x11")                           \
  MBI_ROW(multiply, lane, "4", "12", "13", "14", "15")  \
  MBI_LOADED("0", "3", "x12")                           \
  MBI_OTHER_ROW(multiply, lane, "16", "17", "18", "19") \
  MBI_LOADED("5", "8", "x13")                           \
  MBI_ROW(multiply, lane, "4", "20", "21", "22", "23") MBI_OTHER_ROW(multiply, lane, "24", "25", "26", "27")
#define MBI_START_PAIRS MBI_START_4
#define MBI_PIXELS_PAIRS "add x11, x15, %[ahead]\nadd x12, x11, %[ahead]\nadd x13, x12, %[ahead]\n"
#define MBI_OTHERS_PAIRS(r)
#define MBI_EACH_PAIRS(of) of("4")

#define MBI_START_1 "ld1 {v12.4s - v15.4s}, [%[start]], %[more]\n"
#define MBI_START_2 MBI_START_1 "ld1 {v16.4s - v19.4s}, [%[start]], %[more]\n"
#define MBI_START_3 MBI_START_2 "ld1 {v20.4s - v23.4s}, [%[start]], %[more]\n"
#define MBI_START_4 MBI_START_3 "ld1 {v24.4s - v27.4s}, [%[start]], %[more]\n"
#define MBI_START_5 MBI_START_4 "ld1 {v28.4s - v31.4s}, [%[start]], %[more]\n"

// How far the third pixel and the next ones are behind the first, as the second is by x14.
#define MBI_PIXELS_1
#define MBI_PIXELS_2
#define MBI_PIXELS_3 "add x11, x14, x14\n"
#define MBI_PIXELS_4 MBI_PIXELS_3 "add x12, x11, x14\n"
#define MBI_PIXELS_5 MBI_PIXELS_4 "add x13, x12, x14\n"

#define MBI_OTHERS_1(r)
#define MBI_OTHERS_2(r) "ldr " r "5, [x9, x14]\n"
#define MBI_OTHERS_3(r) MBI_OTHERS_2(r) "ldr " r "6, [x9, x11]\n"
#define MBI_OTHERS_4(r) MBI_OTHERS_3(r) "ldr " r "7, [x9, x12]\n"
#define MBI_OTHERS_5(r) MBI_OTHERS_4(r) "ldr " r "8, [x9, x13]\n"

// What is done to the inputs of a pixel before they are multiplied.
#define MBI_FLOATS(v)
#define MBI_SIGNED(v) "eor v" v ".16b, v" v ".16b, %[half].16b\n"
#define MBI_EACH_1(of) of("4")
#define MBI_EACH_2(of) MBI_EACH_1(of) of("5")
#define MBI_EACH_3(of) MBI_EACH_2(of) of("6")
#define MBI_EACH_4(of) MBI_EACH_3(of) of("7")
#define MBI_EACH_5(of) MBI_EACH_4(of) of("8")

#define MBI_INPUTS(n, of, r, bytes) MBI_OTHERS_##n(r) "ldr " r "4, [x9], #" bytes "\n" MBI_EACH_##n(of)
#define MBI_WEIGHTS(n, multiply, lane) MBI_LOADED("0", "3", "x15") MBI_ROW_##n(multiply, lane)
#define MBI_TWO_ROWS(n, multiply) MBI_WEIGHTS(n, multiply, "0") MBI_WEIGHTS(n, multiply, "1")

// Two of the four lines of weights that will follow so far behind these.
#define MBI_NOTHING_AHEAD
#define MBI_TWO_AHEAD "prfm pldl1keep, [x15, %[ahead]]\nprfm pldl1keep, [x15, %[further]]\n"

// The sums of n pixels. The last arguments are the operands that are read.
#define MBI_SUMS(n, multiply, of, ahead, ...) \
  asm volatile(MBI_START_##n                                                                                        \
               "1:\n"                                                                                               \
               "ldp x9, x14, [%[taps]], #16\n"                                                                      \
               "ldp x15, x16, [%[taps]], #16\n"                                                                     \
               "madd x9, %[pixel], x14, x9\n" MBI_PIXELS_##n                                                        \
               "subs x16, x16, #4\n"                                                                                \
               "b.lt 3f\n"                                                                                          \
               "2:\n" MBI_INPUTS(n, of, "q", "16") ahead MBI_TWO_ROWS(n, multiply) MBI_WEIGHTS(n, multiply, "2")    \
                   MBI_WEIGHTS(n, multiply, "3")                                                                    \
               "subs x16, x16, #4\n"                                                                                \
               "b.ge 2b\n"                                                                                          \
               "3:\n"                                                                                               \
               "tbz x16, #1, 4f\n" MBI_INPUTS(n, of, "d", "8") MBI_TWO_ROWS(n, multiply)                            \
               "4:\n"                                                                                               \
               "tbz x16, #0, 5f\n" MBI_INPUTS(n, of, "s", "4") MBI_WEIGHTS(n, multiply, "0")                        \
               "5:\n"                                                                                               \
               "cmp %[taps], %[end]\n"                                                                              \
               "b.ne 1b\n"                                                                                          \
               : "=&w"(s0), "=&w"(s1), "=&w"(s2), "=&w"(s3), "=&w"(s4), "=&w"(s5), "=&w"(s6), "=&w"(s7), "=&w"(s8), \
                 "=&w"(s9), "=&w"(s10), "=&w"(s11), "=&w"(s12), "=&w"(s13), "=&w"(s14), "=&w"(s15), "=&w"(s16),     \
                 "=&w"(s17), "=&w"(s18), "=&w"(s19), [start] "+&r"(start), [taps] "+&r"(taps)                       \
               : __VA_ARGS__                                                                                        \
               : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "x9", "x11", "x12", "x13",   \
                 "x14", "x15", "x16")

// What is multiplied, and whether weights are asked for ahead.
enum ByLane { kBytesByLane, kFloatsByLane, kFloatsAhead, kFloatsOfPairs };

// sums: four registers of each pixel, or of four pairs of panels of one. The first ones begin at `start`, the next ones
// `more` bytes further. `ahead`: how far the weights of the next pair are behind these, or half of its lines.
template <ByLane kKind, int kPixels>
MBI_INLINE void sums_by_lane(const void* start, ptrdiff_t more, const TapInputs* taps, const TapInputs* end,
                             ptrdiff_t pixel, ptrdiff_t ahead, int32x4_t (&sums)[4 * kPixels]) {
  register int32x4_t s0 asm("v12");
  register int32x4_t s1 asm("v13");
  register int32x4_t s2 asm("v14");
  register int32x4_t s3 asm("v15");
  register int32x4_t s4 asm("v16");
  register int32x4_t s5 asm("v17");
  register int32x4_t s6 asm("v18");
  register int32x4_t s7 asm("v19");
  register int32x4_t s8 asm("v20");
  register int32x4_t s9 asm("v21");
  register int32x4_t s10 asm("v22");
  register int32x4_t s11 asm("v23");
  register int32x4_t s12 asm("v24");
  register int32x4_t s13 asm("v25");
  register int32x4_t s14 asm("v26");
  register int32x4_t s15 asm("v27");
  register int32x4_t s16 asm("v28");
  register int32x4_t s17 asm("v29");
  register int32x4_t s18 asm("v30");
  register int32x4_t s19 asm("v31");
  static_assert(kPixels <= 5, "registers for all");
#define MBI_WHERE [more] "r"(more), [end] "r"(end), [pixel] "r"(pixel)
#define MBI_ALL_SIZES(...)                              \
  if constexpr (kPixels == 1) MBI_SUMS(1, __VA_ARGS__); \
  if constexpr (kPixels == 2) MBI_SUMS(2, __VA_ARGS__); \
  if constexpr (kPixels == 3) MBI_SUMS(3, __VA_ARGS__); \
  if constexpr (kPixels == 4) MBI_SUMS(4, __VA_ARGS__); \
  if constexpr (kPixels == 5) MBI_SUMS(5, __VA_ARGS__);
  if constexpr (kKind == kFloatsByLane) {
    MBI_ALL_SIZES(MBI_FMLA, MBI_FLOATS, MBI_NOTHING_AHEAD, MBI_WHERE)
  } else if constexpr (kKind == kFloatsAhead) {
    const ptrdiff_t further = ahead + 64;
    MBI_ALL_SIZES(MBI_FMLA, MBI_FLOATS, MBI_TWO_AHEAD, MBI_WHERE, [ahead] "r"(ahead), [further] "r"(further))
  } else if constexpr (kKind == kFloatsOfPairs) {
    static_assert(kPixels == 4, "pairs");
    MBI_SUMS(PAIRS, MBI_FMLA, MBI_FLOATS, MBI_NOTHING_AHEAD, MBI_WHERE, [ahead] "r"(ahead));
  } else {
    const int8x16_t half = vdupq_n_s8(-128);
    MBI_ALL_SIZES(MBI_SDOT, MBI_SIGNED, MBI_NOTHING_AHEAD, MBI_WHERE, [half] "w"(half))
  }
  const int32x4_t all[20] = {s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15, s16, s17, s18, s19};
  MBI_UNROLL for (int i = 0; i < 4 * kPixels; i++) sums[i] = all[i];
}

}  // namespace
}  // namespace mbinfer
