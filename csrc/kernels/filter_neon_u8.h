// What the depthwise convolutions of 3 x 3 on aarch64 have in common, with and without dot products. Included by
// filter_sdot_u8.h and filter_smull_u8.h only.
#pragma once

namespace mbinfer {
namespace {

// A pair of panels: where its sums start and what they are multiplied by; its inputs are bytes less 128.
struct FilterPair {
  static constexpr int kPanels = 2, kLeast = 2;
  static constexpr bool kWaits = false;
  int32_t bias[16];
  float multiplier[16];

  FilterPair(const DepthwiseArgs& a, int panel) {
    const Channels* channels = static_cast<const Channels*>(a.bias) + panel;
    for (int i = 0; i < 2; i++) {
      __builtin_memcpy(bias + i * kPanel, channels[i].signed_bias, sizeof channels->signed_bias);
      __builtin_memcpy(multiplier + i * kPanel, channels[i].multiplier, sizeof channels->multiplier);
    }
  }
  static MBI_INLINE int8x16_t load(const uint8_t* row) {
    return veorq_s8(vreinterpretq_s8_u8(vld1q_u8(row)), vdupq_n_s8(-128));
  }
  static MBI_INLINE void store(uint8_t* out, uint8x16_t bytes) { vst1q_u8(out, bytes); }
};

using FilterSums = uint8x16_t;  // bytes already

}  // namespace
}  // namespace mbinfer
