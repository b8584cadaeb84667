// The largest channel of each pixel: one routine for every instruction set, of comparisons only.
#include "kernels/kernels.h"

namespace mbinfer {
namespace {

template <class In, class Out>
void largest(const ArgmaxArgs* a) {
  const char* in = static_cast<const char*>(a->in);
  Out* out = static_cast<Out*>(a->out);
  for (int p = 0; p < a->pixels; p++, in += a->in_stride) {
    const In* numbers = reinterpret_cast<const In*>(in);
    In most = numbers[0];
    int found = 0;
    for (int c = 1; c < a->channels; c++) {  // without a jump, which nothing would predict
      const bool larger = numbers[c] > most;
      most = larger ? numbers[c] : most;
      found = larger ? c : found;
    }
    out[p] = Out(found);
  }
}

template <class In>
void largest_of(const ArgmaxArgs* a) {
  a->out_type == DType::kUint8 ? largest<In, uint8_t>(a) : largest<In, float>(a);
}

}  // namespace

void argmax(const ArgmaxArgs* a) { a->in_type == DType::kUint8 ? largest_of<uint8_t>(a) : largest_of<float>(a); }

}  // namespace mbinfer
