// Sixteen bytes at a time, each by a table of what it does to the remainder so many bytes later ("slicing": Kounavis
// and Berry 2005). A table for one byte takes five seconds for 2 GB, these half a second.
#include "model/crc32.h"

#include <cstring>

namespace mbinfer {
namespace {

constexpr int kSlices = 16;

struct Tables {
  uint32_t of[kSlices][256] = {};

  constexpr Tables() {
    for (uint32_t i = 0; i < 256; i++) {
      uint32_t c = i;
      for (int bit = 0; bit < 8; bit++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
      of[0][i] = c;
    }
    for (int k = 1; k < kSlices; k++)
      for (uint32_t i = 0; i < 256; i++) of[k][i] = of[0][of[k - 1][i] & 0xFF] ^ (of[k - 1][i] >> 8);
  }
};

constexpr Tables kTables;  // made by the compiler

}  // namespace

uint32_t crc32(uint32_t crc, const void* data, uint64_t size) {
  const auto* at = static_cast<const uint8_t*>(data);
  crc = ~crc;
  for (; size >= kSlices; size -= kSlices, at += kSlices) {
    uint32_t words[kSlices / 4];  // little-endian, as every machine is that reads models
    std::memcpy(words, at, sizeof words);
    words[0] ^= crc;
    crc = 0;
    for (int w = 0; w < kSlices / 4; w++)
      for (int byte = 0; byte < 4; byte++) crc ^= kTables.of[kSlices - 1 - 4 * w - byte][words[w] >> (8 * byte) & 0xFF];
  }
  for (; size; size--, at++) crc = kTables.of[0][(crc ^ *at) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

}  // namespace mbinfer
