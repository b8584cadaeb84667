// Bytes looked up in a table of 256, as many together as the leaf's look_up() takes. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

void lookup_bytes(const LookupArgs* a) {
  const auto* table = static_cast<const uint8_t*>(a->table);
  const auto* in = static_cast<const uint8_t*>(a->in);
  auto* out = static_cast<uint8_t*>(a->out);
  const int bytes = a->panels * kPanel;
  const bool in_a_row = a->in_stride == bytes && a->out_stride == bytes;  // all pixels are like one
  const ptrdiff_t run = in_a_row ? ptrdiff_t(bytes) * a->pixels : bytes, times = run / kLookUp, rest = run % kLookUp;
  for (int p = in_a_row ? a->pixels - 1 : 0; p < a->pixels; p++, in += a->in_stride, out += a->out_stride) {
    if (times) look_up(table, in, out, times);
    if (!rest) continue;
    uint8_t last[kLookUp] = {};
    __builtin_memcpy(last, in + times * kLookUp, size_t(rest));
    look_up(table, last, last, 1);
    __builtin_memcpy(out + times * kLookUp, last, size_t(rest));
  }
}

}  // namespace
}  // namespace mbinfer
