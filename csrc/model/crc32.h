// The checksum of model files: CRC-32 as zlib has it.
#pragma once

#include <cstdint>

namespace mbinfer {

// Of bytes that follow those whose checksum is `crc`; 0 where there are none before.
uint32_t crc32(uint32_t crc, const void* data, uint64_t size);

}  // namespace mbinfer
