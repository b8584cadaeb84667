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
    int32x4_t all[4 * kPixels];
    sums_by_lane<kBytesByLane, kPixels>(start.sums, 0, taps, end, pixel, 0, all);
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      const int32x4_t* of_pixel = all + 4 * p;
      sums[p] = {{{of_pixel[0], of_pixel[1]}, {of_pixel[2], of_pixel[3]}}};
    }
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

struct ByteTiles : PairByPair {  // 32 registers: 20 of sums, 4 of weights, 5 of inputs
  static constexpr int gemm_pixels = 5, lone_pixels = 0, waiting_tiles = 1, depthwise_pixels[4] = {0, 8, 4, 4};
};

}  // namespace
}  // namespace mbinfer
