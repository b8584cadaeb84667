// The depthwise kernel of uint8: as in depthwise.h, a column of the input is loaded once for every pixel of a tile that
// reads it. Rows and columns outside the input are columns of its zero point. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

using ByteSum = ByteColumns::Sum;

inline const int8_t* byte_weights(const DepthwiseArgs& a, int panel) {
  const int node_panel = a.panel + panel;
  return static_cast<const int8_t*>(a.weights) + ptrdiff_t(node_panel / 2) * a.kernel_h * a.kernel_w * kRow +
         node_panel % 2 * kPanel;
}

template <int kPixels>
MBI_INLINE void finish_bytes(const DepthwiseArgs& a, const i32x8 (&sums)[kPixels], const Channels& channels,
                             const ByteOutput& output, uint8_t* out) {
  const f32x8 multiplier = f32x8::load(channels.multiplier);
  auto steps = [&](int t) { return mul(to_float(sums[t]), multiplier); };
  MBI_UNROLL for (int t = 0; t < kPixels; t += 2) {
    const f32x8 first = steps(t);
    const u8x16 bytes = output(first, t + 1 < kPixels ? steps(t + 1 < kPixels ? t + 1 : t) : first);
    store_half(out + t * a.out_stride, bytes);
    if (t + 1 < kPixels) store_second_half(out + (t + 1) * a.out_stride, bytes);
  }
}

// A tile of kPixels from x on, panel after panel; at an edge some columns do not exist.
template <int kKernel, int kStride, int kPixels, bool kEdge>
MBI_INLINE void byte_tile(const DepthwiseArgs& a, int x, const ByteOutput& output) {
  constexpr int kColumns = (kPixels - 1) * kStride + kKernel;
  const int first = x * kStride - a.pad_left, inside = a.in_width - first;
  auto exists = [&](int c) { return !kEdge || (c >= -first && c < inside); };
  const auto outside = ByteColumns::outside(a.in_type.zero_point);
  const auto* channels = static_cast<const Channels*>(a.bias);
  uint8_t* out = static_cast<uint8_t*>(a.out) + (x - a.x0) * a.out_stride;
  ptrdiff_t offset = first * a.in_stride;
  for (int panel = 0; panel < a.panels; panel++, channels++, out += kPanel, offset += kPanel) {
    const int8_t* weights = byte_weights(a, panel);
    const i32x8 bias = i32x8::load(channels->bias);
    ByteSum sums[kPixels];
    MBI_UNROLL for (int t = 0; t < kPixels; t++) sums[t] = ByteColumns::start(bias);
    for (int ky = 0; ky < a.kernel_h; ky++, weights += kKernel * kRow) {
      const bool row = a.rows[ky] != nullptr;
      const uint8_t* in = static_cast<const uint8_t*>(a.rows[ky]) + (row ? offset : 0);
      decltype(ByteColumns::weight(weights)) w[kKernel];
      MBI_UNROLL for (int kx = 0; kx < kKernel; kx++) w[kx] = ByteColumns::weight(weights + kx * kRow);
      MBI_UNROLL for (int c = 0; c < kColumns; c++) {
        const auto column = row && exists(c) ? ByteColumns::column(in) : outside;
        in = row ? pace(in + a.in_stride) : in;
        MBI_UNROLL for (int t = 0; t < kPixels; t++) {
          const int kx = c - t * kStride;
          if (kx < 0 || kx >= kKernel) continue;
          sums[t] = ByteColumns::multiply(column, w[kx], sums[t]);
        }
      }
    }
    i32x8 integers[kPixels];
    MBI_UNROLL for (int t = 0; t < kPixels; t++) integers[t] = ByteColumns::end(sums[t], bias);
    finish_bytes(a, integers, *channels, output, out);
  }
}

template <int kKernel, int kStride, int kPixels>
__attribute__((noinline)) int byte_row_tiles(const DepthwiseArgs& a, int x, const ByteOutput& output) {
  bool whole = true;
  for (int ky = 0; ky < a.kernel_h; ky++) whole = whole && a.rows[ky];
  for (; a.x1 - x >= kPixels; x += kPixels) {
    const int first = x * kStride - a.pad_left, end = first + (kPixels - 1) * kStride + kKernel;
    if (whole && first >= 0 && end <= a.in_width)
      byte_tile<kKernel, kStride, kPixels, false>(a, x, output);
    else
      byte_tile<kKernel, kStride, kPixels, true>(a, x, output);
  }
  return x;
}

template <int kKernel, int kStride>
void byte_row(const DepthwiseArgs& a, const ByteOutput& output) {
  constexpr int kMost = ByteTiles::depthwise_pixels[kKernel / 2];
  int x = a.x0;
  if constexpr (kMost >= 8) {
    if ((a.x1 - x) % 8 && (a.x1 - x) % 7 == 0) x = byte_row_tiles<kKernel, kStride, 7>(a, x, output);
    x = byte_row_tiles<kKernel, kStride, 8>(a, x, output);
  }
  x = byte_row_tiles<kKernel, kStride, 4>(a, x, output);
  x = byte_row_tiles<kKernel, kStride, 2>(a, x, output);
  byte_row_tiles<kKernel, kStride, 1>(a, x, output);
}

// Any kernel, stride and dilation: one pixel at a time.
void byte_pixels(const DepthwiseArgs& a, const ByteOutput& output) {
  constexpr int kMost = ByteColumns::kMostTaps;
  const auto outside = ByteColumns::outside(a.in_type.zero_point);
  for (int x = a.x0; x < a.x1; x++) {
    const int first = x * a.stride - a.pad_left;
    for (int panel = 0; panel < a.panels; panel++) {
      const int8_t* weights = byte_weights(a, panel);
      const Channels& channels = static_cast<const Channels*>(a.bias)[panel];
      i32x8 total[1] = {i32x8::load(channels.bias)};
      for (int ky = 0; ky < a.kernel_h; ky++) {
        const auto* row = static_cast<const uint8_t*>(a.rows[ky]);
        for (int begin = 0; begin < a.kernel_w; begin += kMost) {
          const int end = begin + kMost < a.kernel_w ? begin + kMost : a.kernel_w;
          ByteSum sum = ByteColumns::start(total[0]);
          for (int kx = begin; kx < end; kx++, weights += kRow) {
            const int ix = first + kx * a.dilation;
            const bool inside = row && ix >= 0 && ix < a.in_width;
            sum = ByteColumns::multiply(inside ? ByteColumns::column(row + ix * a.in_stride + panel * kPanel) : outside,
                                        ByteColumns::weight(weights), sum);
          }
          total[0] = ByteColumns::end(sum, total[0]);
        }
      }
      finish_bytes(a, total, channels, output,
                   static_cast<uint8_t*>(a.out) + (x - a.x0) * a.out_stride + panel * kPanel);
    }
  }
}

void depthwise_u8(const DepthwiseArgs* a) {
  const ByteOutput output(a->activation, a->out_type);
  if (a->dilation == 1 && (a->stride == 1 || a->stride == 2)) {
    const bool one = a->stride == 1;
    if (a->kernel_w == 3) return one ? byte_row<3, 1>(*a, output) : byte_row<3, 2>(*a, output);
    if (a->kernel_w == 5) return one ? byte_row<5, 1>(*a, output) : byte_row<5, 2>(*a, output);
    if (a->kernel_w == 7) return one ? byte_row<7, 1>(*a, output) : byte_row<7, 2>(*a, output);
  }
  byte_pixels(*a, output);
}

}  // namespace
}  // namespace mbinfer
