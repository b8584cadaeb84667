// Segments of one stage: what a plan ends with whose later stages run one by one.
#pragma once

#include <cmath>
#include <vector>

#include "plan/choices.h"
#include "plan/slide.h"

namespace mbinfer {

// Of the stages of a window. Searches ask for one limit after the other, and mostly the answer stays.
class AloneSegments {
 public:
  struct Segment {  // the cheapest that fits a limit: that of every limit from its bytes on up to that one
    int64_t limit = -1, bytes = 0;
    double cycles = INFINITY;  // of its stage; INFINITY: none fits
    int option = 0;
    bool any = false;  // it is just one that fits
  };

  // waiting: by stage, bytes of what is made before it and read by it or later. All that is given has to outlive it.
  AloneSegments(const Choices& choices, const Slides& slides, const int64_t* waiting, int count)
      : choices_(choices), slides_(slides), waiting_(waiting), known_(size_t(count)) {}

  // Adds what it takes to *spent.
  const Segment& cheapest(int stage, int64_t limit, bool any, int64_t* spent) {
    Segment& known = known_[size_t(stage)];
    if (limit > known.limit || limit < known.bytes || any != known.any) known = found(stage, limit, any, spent);
    return known;
  }

 private:
  Segment found(int stage, int64_t limit, bool any, int64_t* spent) const {
    Segment best;
    best.limit = limit;
    best.any = any;
    const std::pmr::vector<Option>& options = choices_[size_t(stage)].options;
    const int64_t around = waiting_[stage] + slides_.made_bytes(stage), most = slides_.most_overlap(stage, stage);
    for (int o = 0; o < int(options.size()); o++) {
      const Option& option = options[size_t(o)];
      int64_t bytes = around + option.kept() + option.transient();
      if (option.cycles >= best.cycles || bytes - most > limit) continue;
      if (bytes > limit) bytes -= slides_.overlap(stage, {o}, spent);
      if (bytes > limit) continue;
      best.bytes = bytes;
      best.cycles = option.cycles;
      best.option = o;
      if (any) break;
    }
    return best;
  }

  const Choices& choices_;
  const Slides& slides_;
  const int64_t* waiting_;
  std::vector<Segment> known_;  // by stage: as it was last asked for
};

}  // namespace mbinfer
