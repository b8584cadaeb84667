// The tile that multiplies bytes on NEON without instructions for four products at a time, see vec_u8.h. Included by
// vec_neon_u8.h only.
#pragma once

namespace mbinfer {
namespace {

// Products of bytes fit 16 bits two by two: |x - 128| is at most 128 and a weight at most 127. With a weight of -128
// they do not, and go to 32 bits one by one.
struct ByteInputs {
  static constexpr bool kPrepared = true, kCorrected = false, kSigned = true, kAnyWeight = false;
  static constexpr int kQuadBytes = 16, kMostQuads = 1024, kRoom = kQuadBytes * kMostQuads;
};
struct ByteCorrection {  // none
  void add(const uint8_t*, int) {}
  int total() const { return 0; }
};

inline void prepare(const uint8_t* in, int k, uint8_t* out) {
  const int8x16_t half = vdupq_n_s8(-128);
#ifdef __aarch64__
  // Symptom: GCC 12 loads and stores two registers at once at most. Remedy: the instructions themselves. Gain: 8 for 16
  // inputs in place of 13, MobileNetV2 1.0@224 0.5 % fewer.
  int left = k - 16;
  if (left >= 0)
    asm("1:\n"
        "ld4r {v0.4s - v3.4s}, [%[in]], #16\n"
        "eor v0.16b, v0.16b, %[half].16b\n"
        "eor v1.16b, v1.16b, %[half].16b\n"
        "eor v2.16b, v2.16b, %[half].16b\n"
        "eor v3.16b, v3.16b, %[half].16b\n"
        "st1 {v0.16b - v3.16b}, [%[out]], #64\n"
        "subs %w[left], %w[left], #16\n"
        "b.ge 1b\n"
        : [in] "+r"(in), [out] "+r"(out), [left] "+r"(left)
        : [half] "w"(half)
        : "cc", "memory", "v0", "v1", "v2", "v3");
  k = left + 16;
#else
  for (; k >= 16; k -= 16, in += 16, out += 64) {
    const int32x4_t quads = vreinterpretq_s32_s8(veorq_s8(vreinterpretq_s8_u8(vld1q_u8(in)), half));
    vst1q_u8(out, vreinterpretq_u8_s32(vdupq_lane_s32(vget_low_s32(quads), 0)));
    vst1q_u8(out + 16, vreinterpretq_u8_s32(vdupq_lane_s32(vget_low_s32(quads), 1)));
    vst1q_u8(out + 32, vreinterpretq_u8_s32(vdupq_lane_s32(vget_high_s32(quads), 0)));
    vst1q_u8(out + 48, vreinterpretq_u8_s32(vdupq_lane_s32(vget_high_s32(quads), 1)));
  }
#endif
  for (; k > 0; k -= 4, in += 4, out += 16) vst1q_u8(out, vreinterpretq_u8_s8(veorq_s8(four_of(in), half)));
}

inline int8x16x2_t two_of(const int8_t* p) {
#if defined(__aarch64__) || defined(__clang__)
  return {{vld1q_s8(p), vld1q_s8(p + 16)}};
#else
  // As in f32x8::load(): GCC 12 has no intrinsic for two registers in one load.
  int8x16x2_t v;
  asm("vld1.8 %h0, %A1" : "=w"(v) : "Q"(*reinterpret_cast<const int8_t (*)[32]>(p)));
  return v;
#endif
}
#ifdef __aarch64__
// Symptom: GCC keeps the low half of a register in another one as well, and spills. Remedy: the instructions
// themselves. Gain: MobileNetV2 1.0@224 94.7 -> 92.7 million on a cortex-a53, by depthwise convolutions.
inline int16x8_t multiply_low(int8x16_t a, int8x16_t b) {
  int16x8_t products;
  asm("smull %0.8h, %1.8b, %2.8b" : "=w"(products) : "w"(a), "w"(b));
  return products;
}
inline int16x8_t multiply_low(int16x8_t sum, int8x16_t a, int8x16_t b) {
  asm("smlal %0.8h, %1.8b, %2.8b" : "+w"(sum) : "w"(a), "w"(b));
  return sum;
}
inline int16x8_t multiply_high(int8x16_t a, int8x16_t b) { return vmull_high_s8(a, b); }
inline int16x8_t multiply_high(int16x8_t sum, int8x16_t a, int8x16_t b) { return vmlal_high_s8(sum, a, b); }
#else
inline int16x8_t multiply_low(int8x16_t a, int8x16_t b) { return vmull_s8(vget_low_s8(a), vget_low_s8(b)); }
inline int16x8_t multiply_low(int16x8_t sum, int8x16_t a, int8x16_t b) {
  return vmlal_s8(sum, vget_low_s8(a), vget_low_s8(b));
}
inline int16x8_t multiply_high(int8x16_t a, int8x16_t b) { return vmull_s8(vget_high_s8(a), vget_high_s8(b)); }
inline int16x8_t multiply_high(int16x8_t sum, int8x16_t a, int8x16_t b) {
  return vmlal_s8(sum, vget_high_s8(a), vget_high_s8(b));
}
#endif

#ifdef __aarch64__

// A tile of two pixels, from where its sums begin to the sums: v16 to v23 are those of the first pixel, v24
// to v31 of the second. Symptom: GCC loads at most two registers at once, spreads what sums begin at for each tile, and
// moves pointers by themselves. Remedy: registers that are named, four of weights in a load. Gain: 106 instructions for
// 512 multiply-adds in place of 114 and 70 for a tile beside them in place of 100, MobileNetV2 1.0@224 104.4 -> 97.6
// million on a cortex-a53.
#define MBI_PRODUCTS(of, w, x, y)                                                                                \
  of " v12.8h, " w ".8b, " x ".8b\n" of "2 v13.8h, " w ".16b, " x ".16b\n" of " v14.8h, " w ".8b, " y ".8b\n" of \
     "2 v15.8h, " w ".16b, " y ".16b\n"
#define MBI_ADD_PRODUCTS(a, b, c, d) \
  "sadalp " a                        \
  ".4s, v12.8h\n"                    \
  "sadalp " b                        \
  ".4s, v13.8h\n"                    \
  "sadalp " c                        \
  ".4s, v14.8h\n"                    \
  "sadalp " d ".4s, v15.8h\n"
#define MBI_ONE_QUAD_OF_FOUR(w, ...) MBI_PRODUCTS("smull", w, "v8", "v10") MBI_ADD_PRODUCTS(__VA_ARGS__)
#define MBI_TWO_QUADS_OF_FOUR(w, v, ...) \
  MBI_PRODUCTS("smull", w, "v8", "v10") MBI_PRODUCTS("smlal", v, "v9", "v11") MBI_ADD_PRODUCTS(__VA_ARGS__)
#define MBI_TWO_QUADS                                                                                        \
  "ld1 {v8.16b, v9.16b}, [%[first]], #32\n"                                                                  \
  "ld1 {v0.16b - v3.16b}, [%[weights]], #64\n"                                                               \
  "ld1 {v10.16b, v11.16b}, [%[second]], #32\n"                                                               \
  "ld1 {v4.16b - v7.16b}, [%[weights]], #64\n" MBI_TWO_QUADS_OF_FOUR("v0", "v4", "v16", "v17", "v24", "v25") \
      MBI_TWO_QUADS_OF_FOUR("v1", "v5", "v18", "v19", "v26", "v27")                                          \
          MBI_TWO_QUADS_OF_FOUR("v2", "v6", "v20", "v21", "v28", "v29")                                      \
              MBI_TWO_QUADS_OF_FOUR("v3", "v7", "v22", "v23", "v30", "v31")
#define MBI_LAST_QUAD                                                                                               \
  "ld1 {v8.16b}, [%[first]]\n"                                                                                      \
  "ld1 {v10.16b}, [%[second]]\n"                                                                                    \
  "ld1 {v0.16b - v3.16b}, [%[weights]]\n" MBI_ONE_QUAD_OF_FOUR("v0", "v16", "v17", "v24", "v25")                    \
      MBI_ONE_QUAD_OF_FOUR("v1", "v18", "v19", "v26", "v27") MBI_ONE_QUAD_OF_FOUR("v2", "v20", "v21", "v28", "v29") \
          MBI_ONE_QUAD_OF_FOUR("v3", "v22", "v23", "v30", "v31")

MBI_INLINE void multiply_two(const int32_t* start, const TapInputs* taps, const TapInputs* end, ptrdiff_t pixel,
                             i32x16 (&sums)[2]) {
  register int32x4_t s0 asm("v16");
  register int32x4_t s1 asm("v17");
  register int32x4_t s2 asm("v18");
  register int32x4_t s3 asm("v19");
  register int32x4_t s4 asm("v20");
  register int32x4_t s5 asm("v21");
  register int32x4_t s6 asm("v22");
  register int32x4_t s7 asm("v23");
  const uint8_t *first, *second;
  const int8_t* weights;
  ptrdiff_t left;
  asm volatile(
      "ld1 {v16.4s - v19.4s}, [%[start]], #64\n"
      "ld1 {v20.4s - v23.4s}, [%[start]], #64\n"
      "ld1 {v24.4s - v27.4s}, [%[start]], #64\n"
      "ld1 {v28.4s - v31.4s}, [%[start]]\n"
      "1:\n"
      "ldp %[first], %[second], [%[taps]], #16\n"
      "ldp %[weights], %[left], [%[taps]], #16\n"
      "madd %[first], %[pixel], %[second], %[first]\n"
      "add %[second], %[first], %[second]\n"
      "subs %[left], %[left], #4\n"
      "b.lt 3f\n"
      "2:\n" MBI_TWO_QUADS MBI_TWO_QUADS
      "subs %[left], %[left], #4\n"
      "b.ge 2b\n"
      "3:\n"
      "tbz %[left], #1, 4f\n" MBI_TWO_QUADS
      "4:\n"
      "tbz %[left], #0, 5f\n" MBI_LAST_QUAD
      "5:\n"
      "cmp %[taps], %[end]\n"
      "b.ne 1b\n"
      "addp v16.4s, v16.4s, v17.4s\n"
      "addp v17.4s, v18.4s, v19.4s\n"
      "addp v18.4s, v20.4s, v21.4s\n"
      "addp v19.4s, v22.4s, v23.4s\n"
      "addp v20.4s, v24.4s, v25.4s\n"
      "addp v21.4s, v26.4s, v27.4s\n"
      "addp v22.4s, v28.4s, v29.4s\n"
      "addp v23.4s, v30.4s, v31.4s\n"
      : "=w"(s0), "=w"(s1), "=w"(s2), "=w"(s3), "=w"(s4), "=w"(s5), "=w"(s6), "=w"(s7), [start] "+&r"(start),
        [taps] "+&r"(taps), [first] "=&r"(first), [second] "=&r"(second), [weights] "=&r"(weights), [left] "=&r"(left)
      : [end] "r"(end), [pixel] "r"(pixel)
      : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14",
        "v15", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
  sums[0] = {{{s0, s1}, {s2, s3}}};
  sums[1] = {{{s4, s5}, {s6, s7}}};
}
template <int kPixels>
MBI_INLINE void multiply_whole(const int32_t* start, const TapInputs* taps, const TapInputs* end, ptrdiff_t pixel,
                               i32x16 (&sums)[kPixels]) {
  if constexpr (kPixels == 2) multiply_two(start, taps, end, pixel, sums);
}

#else

// A tile of one pixel: q0 to q7 are its sums. Symptom: GCC moves pointers by themselves and spills. Remedy: registers
// that are named, and a pointer each to the weights of a quad and to those of the next one. Gain: 60 instructions for
// 256 multiply-adds in place of 71.
#define MBI_ONE_QUAD_OF_FOUR(w, z, a, b) \
  "vmull.s8 q14, " w                     \
  ", d16\n"                              \
  "vmull.s8 q15, " z                     \
  ", d17\n"                              \
  "vpadal.s16 " a                        \
  ", q14\n"                              \
  "vpadal.s16 " b ", q15\n"
#define MBI_TWO_QUADS_OF_FOUR(w, z, v, y, a, b) \
  "vmull.s8 q14, " w                            \
  ", d16\n"                                     \
  "vmull.s8 q15, " z                            \
  ", d17\n"                                     \
  "vmlal.s8 q14, " v                            \
  ", d18\n"                                     \
  "vmlal.s8 q15, " y                            \
  ", d19\n"                                     \
  "vpadal.s16 " a                               \
  ", q14\n"                                     \
  "vpadal.s16 " b ", q15\n"
#define MBI_TWO_QUADS \
  "vld1.8 {d16-d19}, [%[in]]!\n"                                \
  "vld1.8 {d20-d23}, [%[weights]]!\n"                           \
  "vld1.8 {d24-d27}, [%[next]]!\n"                              \
  MBI_TWO_QUADS_OF_FOUR("d20", "d21", "d24", "d25", "q0", "q1") \
  MBI_TWO_QUADS_OF_FOUR("d22", "d23", "d26", "d27", "q2", "q3") \
  "vld1.8 {d20-d23}, [%[weights]], %[further]\n"                \
  "vld1.8 {d24-d27}, [%[next]], %[further]\n"                   \
  MBI_TWO_QUADS_OF_FOUR("d20", "d21", "d24", "d25", "q4", "q5") \
  MBI_TWO_QUADS_OF_FOUR("d22", "d23", "d26", "d27", "q6", "q7")
#define MBI_LAST_QUAD                                                                               \
  "vld1.8 {d16-d17}, [%[in]]\n"                                                                     \
  "vld1.8 {d20-d23}, [%[weights]]!\n"                                                               \
  "vld1.8 {d24-d27}, [%[weights]]\n" MBI_ONE_QUAD_OF_FOUR("d20", "d21", "q0", "q1")                 \
      MBI_ONE_QUAD_OF_FOUR("d22", "d23", "q2", "q3") MBI_ONE_QUAD_OF_FOUR("d24", "d25", "q4", "q5") \
          MBI_ONE_QUAD_OF_FOUR("d26", "d27", "q6", "q7")

MBI_INLINE void multiply_whole(const int32_t* start, const TapInputs* taps, const TapInputs* end, ptrdiff_t pixel,
                               i32x16 (&sums)[1]) {
  register int32x4_t s0 asm("q0");
  register int32x4_t s1 asm("q1");
  register int32x4_t s2 asm("q2");
  register int32x4_t s3 asm("q3");
  const int8_t *weights, *next;
  ptrdiff_t left;
  asm volatile(
      "vld1.32 {d0-d3}, [%[in]]!\n"
      "vld1.32 {d4-d7}, [%[in]]!\n"
      "vld1.32 {d8-d11}, [%[in]]!\n"
      "vld1.32 {d12-d15}, [%[in]]\n"
      "1:\n"
      "ldr %[in], [%[taps]], #4\n"
      "ldr %[next], [%[taps]], #4\n"
      "ldr %[weights], [%[taps]], #4\n"
      "ldr %[left], [%[taps]], #4\n"
      "mla %[in], %[pixel], %[next], %[in]\n"
      "add %[next], %[weights], #64\n"
      "subs %[left], %[left], #4\n"
      "blt 3f\n"
      "2:\n" MBI_TWO_QUADS MBI_TWO_QUADS
      "subs %[left], %[left], #4\n"
      "bge 2b\n"
      "3:\n"
      "tst %[left], #2\n"
      "beq 4f\n" MBI_TWO_QUADS
      "4:\n"
      "tst %[left], #1\n"
      "beq 5f\n" MBI_LAST_QUAD
      "5:\n"
      "cmp %[taps], %[end]\n"
      "bne 1b\n"
      "vpadd.i32 d0, d0, d1\n"
      "vpadd.i32 d1, d2, d3\n"
      "vpadd.i32 d2, d4, d5\n"
      "vpadd.i32 d3, d6, d7\n"
      "vpadd.i32 d4, d8, d9\n"
      "vpadd.i32 d5, d10, d11\n"
      "vpadd.i32 d6, d12, d13\n"
      "vpadd.i32 d7, d14, d15\n"
      : "=&w"(s0), "=&w"(s1), "=&w"(s2), "=&w"(s3), [in] "+&r"(start), [taps] "+&r"(taps), [weights] "=&r"(weights),
        [next] "=&r"(next), [left] "=&r"(left)
      : [end] "r"(end), [pixel] "r"(pixel), [further] "r"(96)
      : "cc", "memory", "q4", "q5", "q6", "q7", "q8", "q9", "q10", "q11", "q12", "q13", "q14", "q15");
  sums[0] = {{{s0, s1}, {s2, s3}}};
}

#endif

// While it multiplies it has two sums of each channel, beside one another: first what it starts at, and nothing.
template <int kPixels, bool kFull>
struct ByteTile {
#ifdef __aarch64__
  static constexpr bool kWhole = kPixels == 2 && !kFull;
#else
  static constexpr bool kWhole = !kFull;
#endif
  i32x16 sums[kPixels];
  int32x4_t pairs[kPixels][8];

  using Inputs = TapInputs;
  struct Start {
    int32_t beside_zeros[64];  // of each pixel
    explicit Start(i32x16 sums) {
      ByteTile tile;
      tile.sums[0] = sums;
      tile.start();
      MBI_UNROLL for (int i = 0; i < 16; i++) vst1q_s32(beside_zeros + 4 * i, tile.pairs[0][i % 8]);
    }
  };
  MBI_INLINE void whole(const Start& start, const TapInputs* taps, const TapInputs* end, ptrdiff_t pixel) {
    multiply_whole(start.beside_zeros, taps, end, pixel, sums);
  }

  MBI_INLINE void start() {
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < 2; n++) {
        int32x4_t* of_panel = pairs[p] + 4 * n;
        of_panel[0] = spread(vget_low_s32(sums[p].v[n].lo)), of_panel[1] = spread(vget_high_s32(sums[p].v[n].lo));
        of_panel[2] = spread(vget_low_s32(sums[p].v[n].hi)), of_panel[3] = spread(vget_high_s32(sums[p].v[n].hi));
      }
    }
  }

  MBI_INLINE void multiply(const uint8_t* in, const ptrdiff_t (&pixels)[kPixels], const int8_t* weights, int quads) {
    for (; quads >= 4; quads -= 4, in += 64, weights += 256) {
      two_quads(in, pixels, weights);
      two_quads(in + 32, pixels, weights + 128);
    }
    if (quads & 2) {
      two_quads(in, pixels, weights);
      in += 32, weights += 128;
    }
    if (!(quads & 1)) return;
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      const int8x16_t x = vld1q_s8(of(in + pixels[p]));
      MBI_UNROLL for (int i = 0; i < 4; i++) {
        const int8x16_t w = vld1q_s8(weights + 16 * i);
        pairs[p][2 * i] = vpadalq_s16(pairs[p][2 * i], multiply_low(w, x));
        pairs[p][2 * i + 1] = vpadalq_s16(pairs[p][2 * i + 1], multiply_high(w, x));
      }
    }
  }

  MBI_INLINE void two_quads(const uint8_t* in, const ptrdiff_t (&pixels)[kPixels], const int8_t* weights) {
    int8x16x2_t x[kPixels];
    MBI_UNROLL for (int p = 0; p < kPixels; p++) x[p] = two_of(of(in + pixels[p]));
    MBI_UNROLL for (int i = 0; i < 4; i += 2) {
      const int8x16x2_t w = two_of(weights + 16 * i), v = two_of(weights + 64 + 16 * i);
      MBI_UNROLL for (int p = 0; p < kPixels; p++) add_products(&pairs[p][2 * i], w.val[0], v.val[0], x[p]);
      MBI_UNROLL for (int p = 0; p < kPixels; p++) add_products(&pairs[p][2 * i + 2], w.val[1], v.val[1], x[p]);
    }
  }

  // Of four channels, a quad each of x, times w and v.
  static MBI_INLINE void add_products(int32x4_t* pairs, int8x16_t w, int8x16_t v, int8x16x2_t x) {
    const int16x8_t first = multiply_low(w, x.val[0]), second = multiply_high(w, x.val[0]);
    if (kFull) {
      pairs[0] = vpadalq_s16(vpadalq_s16(pairs[0], first), multiply_low(v, x.val[1]));
      pairs[1] = vpadalq_s16(vpadalq_s16(pairs[1], second), multiply_high(v, x.val[1]));
    } else {
      pairs[0] = vpadalq_s16(pairs[0], multiply_low(first, v, x.val[1]));
      pairs[1] = vpadalq_s16(pairs[1], multiply_high(second, v, x.val[1]));
    }
  }

  static MBI_INLINE const int8_t* of(const uint8_t* p) { return reinterpret_cast<const int8_t*>(p); }
  static MBI_INLINE int32x4_t spread(int32x2_t two) {  // each beside a zero
    return vreinterpretq_s32_u64(vmovl_u32(vreinterpret_u32_s32(two)));
  }
  static MBI_INLINE int32x4_t both(int32x4_t a, int32x4_t b) {
#ifdef __aarch64__
    return vpaddq_s32(a, b);
#else
    return vcombine_s32(vpadd_s32(vget_low_s32(a), vget_high_s32(a)), vpadd_s32(vget_low_s32(b), vget_high_s32(b)));
#endif
  }

  MBI_INLINE void settle() {
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < 2; n++) {
        const int32x4_t* all = pairs[p] + 4 * n;
        sums[p].v[n] = {both(all[0], all[1]), both(all[2], all[3])};
      }
    }
  }
};

struct ByteTiles : PairByPair {
#ifdef __aarch64__  // 32 registers: 16 of sums, 4 of inputs, 2 of weights, 4 of products
  static constexpr int gemm_pixels = 2, lone_pixels = 0, waiting_tiles = 1, depthwise_pixels[4] = {0, 8, 4, 4};
#else  // 16: 8 of sums, 2 of inputs, 2 of weights, 2 of products
  static constexpr int gemm_pixels = 1, lone_pixels = 0, waiting_tiles = 1, depthwise_pixels[4] = {0, 4, 2, 2};
#endif
};

}  // namespace
}  // namespace mbinfer
