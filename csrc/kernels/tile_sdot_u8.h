// The tile that multiplies bytes on NEON with instructions for four products at a time (SDOT), see vec_u8.h. Included
// by vec_neon_u8.h only.
#pragma once

namespace mbinfer {
namespace {

struct ByteInputs {
  static constexpr bool kPrepared = false, kCorrected = false, kSigned = true, kAnyWeight = true;
  static constexpr int kQuadBytes = 4, kMostQuads = 0, kRoom = 0;
};
inline void prepare(const uint8_t*, int, uint8_t*) {}
struct ByteCorrection {  // none
  void add(const uint8_t*, int) {}
  int total() const { return 0; }
};

// A tile from where its sums begin to the sums: v12 to v15 are those of the first pixel, whose inputs x9 points to,
// v16 to v19 of the second, and so on. Symptom: GCC copies where sums begin for each pixel, loads two registers of
// weights at most at once and moves pointers by themselves. Remedy: registers that are named, four of weights in a
// load. Gain: 96 instructions for 16 inputs of five pixels in place of 102, and 5 in place of 38 that begin a tile.
#define MBI_DOTS(lane, x, a, b, c, d)     \
  "sdot " a ".4s, v0.16b, " x ".4b[" lane \
  "]\n"                                   \
  "sdot " b ".4s, v1.16b, " x ".4b[" lane \
  "]\n"                                   \
  "sdot " c ".4s, v2.16b, " x ".4b[" lane \
  "]\n"                                   \
  "sdot " d ".4s, v3.16b, " x ".4b[" lane "]\n"
#define MBI_DOTS_1(lane) MBI_DOTS(lane, "v4", "v12", "v13", "v14", "v15")
#define MBI_DOTS_2(lane) MBI_DOTS_1(lane) MBI_DOTS(lane, "v5", "v16", "v17", "v18", "v19")
#define MBI_DOTS_3(lane) MBI_DOTS_2(lane) MBI_DOTS(lane, "v6", "v20", "v21", "v22", "v23")
#define MBI_DOTS_4(lane) MBI_DOTS_3(lane) MBI_DOTS(lane, "v7", "v24", "v25", "v26", "v27")
#define MBI_DOTS_5(lane) MBI_DOTS_4(lane) MBI_DOTS(lane, "v8", "v28", "v29", "v30", "v31")

#define MBI_START_1 "ld1 {v12.4s - v15.4s}, [%[start]]\n"
#define MBI_START_2 MBI_START_1 "ld1 {v16.4s - v19.4s}, [%[start]]\n"
#define MBI_START_3 MBI_START_2 "ld1 {v20.4s - v23.4s}, [%[start]]\n"
#define MBI_START_4 MBI_START_3 "ld1 {v24.4s - v27.4s}, [%[start]]\n"
#define MBI_START_5 MBI_START_4 "ld1 {v28.4s - v31.4s}, [%[start]]\n"

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

#define MBI_SIGN_1 "eor v4.16b, v4.16b, %[half].16b\n"
#define MBI_SIGN_2 MBI_SIGN_1 "eor v5.16b, v5.16b, %[half].16b\n"
#define MBI_SIGN_3 MBI_SIGN_2 "eor v6.16b, v6.16b, %[half].16b\n"
#define MBI_SIGN_4 MBI_SIGN_3 "eor v7.16b, v7.16b, %[half].16b\n"
#define MBI_SIGN_5 MBI_SIGN_4 "eor v8.16b, v8.16b, %[half].16b\n"

#define MBI_INPUTS(n, r, bytes) MBI_OTHERS_##n(r) "ldr " r "4, [x9], #" bytes "\n" MBI_SIGN_##n
#define MBI_QUAD(n, lane) "ld1 {v0.16b - v3.16b}, [x15], #64\n" MBI_DOTS_##n(lane)

#define MBI_SUMS(n) \
  asm volatile(MBI_START_##n                                                                                        \
               "1:\n"                                                                                               \
               "ldp x9, x14, [%[taps]], #16\n"                                                                      \
               "ldp x15, x16, [%[taps]], #16\n"                                                                     \
               "madd x9, %[pixel], x14, x9\n" MBI_PIXELS_##n                                                        \
               "subs x16, x16, #4\n"                                                                                \
               "b.lt 3f\n"                                                                                          \
               "2:\n" MBI_INPUTS(n, "q", "16") MBI_QUAD(n, "0") MBI_QUAD(n, "1") MBI_QUAD(n, "2") MBI_QUAD(n, "3")  \
               "subs x16, x16, #4\n"                                                                                \
               "b.ge 2b\n"                                                                                          \
               "3:\n"                                                                                               \
               "tbz x16, #1, 4f\n" MBI_INPUTS(n, "d", "8") MBI_QUAD(n, "0") MBI_QUAD(n, "1")                        \
               "4:\n"                                                                                               \
               "tbz x16, #0, 5f\n" MBI_INPUTS(n, "s", "4") MBI_QUAD(n, "0")                                         \
               "5:\n"                                                                                               \
               "cmp %[taps], %[end]\n"                                                                              \
               "b.ne 1b\n"                                                                                          \
               : "=&w"(s0), "=&w"(s1), "=&w"(s2), "=&w"(s3), "=&w"(s4), "=&w"(s5), "=&w"(s6), "=&w"(s7), "=&w"(s8), \
                 "=&w"(s9), "=&w"(s10), "=&w"(s11), "=&w"(s12), "=&w"(s13), "=&w"(s14), "=&w"(s15), "=&w"(s16),     \
                 "=&w"(s17), "=&w"(s18), "=&w"(s19), [taps] "+&r"(taps)                                             \
               : [start] "r"(start), [end] "r"(end), [pixel] "r"(pixel), [half] "w"(half)                           \
               : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "x9", "x11", "x12", "x13",   \
                 "x14", "x15", "x16")

template <int kPixels>
MBI_INLINE void multiply_pixels(const int32_t* start, const TapInputs* taps, const TapInputs* end, ptrdiff_t pixel,
                                i32x16 (&sums)[kPixels]) {
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
  const int8x16_t half = vdupq_n_s8(-128);
  static_assert(kPixels <= 5, "registers for all");
  if constexpr (kPixels == 1) MBI_SUMS(1);
  if constexpr (kPixels == 2) MBI_SUMS(2);
  if constexpr (kPixels == 3) MBI_SUMS(3);
  if constexpr (kPixels == 4) MBI_SUMS(4);
  if constexpr (kPixels == 5) MBI_SUMS(5);
  const i32x16 all[5] = {{{{s0, s1}, {s2, s3}}},
                         {{{s4, s5}, {s6, s7}}},
                         {{{s8, s9}, {s10, s11}}},
                         {{{s12, s13}, {s14, s15}}},
                         {{{s16, s17}, {s18, s19}}}};
  MBI_UNROLL for (int p = 0; p < kPixels; p++) sums[p] = all[p];
}

template <int kPixels, bool kFull>
struct ByteTile {
  static constexpr bool kWhole = true;
  i32x16 sums[kPixels];

  using Inputs = TapInputs;
  struct Start {
    int32_t sums[16];
    explicit Start(i32x16 of) {
      store(sums, of.first());
      store(sums + kPanel, of.second());
    }
  };
  MBI_INLINE void whole(const Start& start, const TapInputs* taps, const TapInputs* end, ptrdiff_t pixel) {
    multiply_pixels(start.sums, taps, end, pixel, sums);
  }

  template <int kLane>
  MBI_INLINE void by_lane(const int8x16_t (&x)[kPixels], const int8_t* weights) {
    const int8x16_t w[4] = {vld1q_s8(weights + 64 * kLane), vld1q_s8(weights + 64 * kLane + 16),
                            vld1q_s8(weights + 64 * kLane + 32), vld1q_s8(weights + 64 * kLane + 48)};
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      sums[p].v[0].lo = vdotq_laneq_s32(sums[p].v[0].lo, w[0], x[p], kLane);
      sums[p].v[0].hi = vdotq_laneq_s32(sums[p].v[0].hi, w[1], x[p], kLane);
      sums[p].v[1].lo = vdotq_laneq_s32(sums[p].v[1].lo, w[2], x[p], kLane);
      sums[p].v[1].hi = vdotq_laneq_s32(sums[p].v[1].hi, w[3], x[p], kLane);
    }
  }

  MBI_INLINE void multiply(const uint8_t* in, const ptrdiff_t (&pixels)[kPixels], const int8_t* weights, int quads) {
    const int8x16_t half = vdupq_n_s8(-128);
    int8x16_t x[kPixels];
    for (; quads >= 4; quads -= 4, in += 16, weights += 256) {
      MBI_UNROLL for (int p = 0; p < kPixels; p++) x[p] = veorq_s8(vreinterpretq_s8_u8(vld1q_u8(in + pixels[p])), half);
      by_lane<0>(x, weights);
      by_lane<1>(x, weights);
      by_lane<2>(x, weights);
      by_lane<3>(x, weights);
    }
    for (; quads > 0; quads--, in += 4, weights += 64) {
      MBI_UNROLL for (int p = 0; p < kPixels; p++) x[p] = veorq_s8(four_of(in + pixels[p]), half);
      by_lane<0>(x, weights);
    }
  }
  MBI_INLINE void start() {}
  MBI_INLINE void settle() {}
};

struct ByteTiles {  // 32 registers: 20 of sums, 4 of weights, 5 of inputs
  static constexpr int gemm_pixels = 5, lone_pixels = 0, waiting_tiles = 1, depthwise_pixels[4] = {0, 8, 4, 4};
};

}  // namespace
}  // namespace mbinfer
