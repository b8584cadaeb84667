// The floating-point mode that every run has, whatever mode its caller is in: round to nearest, denormal inputs are
// zeros, denormal results become zeros, no traps. So the bits depend on the model and its input alone, and numbers near
// zero cost no more than others. Where the CPU has no such mode (soft float), denormals are computed.
#pragma once

#include <cstdint>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace mbinfer {

class FloatMode {
 public:
#if defined(__SSE__)  // MXCSR: FTZ, all exceptions masked, DAZ
  using Word = unsigned;
  static constexpr Word kRun = 0x8000 | 0x1F80 | 0x0040;
#elif defined(__aarch64__)  // FPCR: FZ
  using Word = uint64_t;
  static constexpr Word kRun = 1u << 24;
#else                       // FPSCR: FZ
  using Word = uint32_t;
  static constexpr Word kRun = 1u << 24;
#endif

  // Sets a mode for as long as this object lives. No compiler knows that arithmetic depends on it: what computes has to
  // be called out of line.
  explicit FloatMode(Word mode = kRun) : before_(current()) { set(mode); }
  FloatMode(const FloatMode&) = delete;
  ~FloatMode() { set(before_); }

  static Word current() {
#if defined(__SSE__)
    return _mm_getcsr();
#elif defined(__aarch64__)
    Word word;
    asm volatile("mrs %0, fpcr" : "=r"(word)::"memory");
    return word;
#elif defined(__arm__) && defined(__ARM_FP)
    Word word;
    asm volatile("vmrs %0, fpscr" : "=r"(word)::"memory");
    return word;
#else
    return 0;
#endif
  }

 private:
  static void set(Word word) {
#if defined(__SSE__)
    _mm_setcsr(word);
#elif defined(__aarch64__)
    asm volatile("msr fpcr, %0" ::"r"(word) : "memory");
#elif defined(__arm__) && defined(__ARM_FP)
    asm volatile("vmsr fpscr, %0" ::"r"(word) : "memory");
#else
    static_cast<void>(word);
#endif
  }

  const Word before_;
};

}  // namespace mbinfer
