// The instruction that a spinning loop gives its core's other work, or its battery, a chance with.
#pragma once

namespace mbinfer {

inline void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || (defined(__arm__) && __ARM_ARCH >= 7)
  asm volatile("yield");
#endif
}

}  // namespace mbinfer
