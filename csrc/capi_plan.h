// A session's plan as the structs of mbinfer.h.
#pragma once

#include "mbinfer.h"
#include "plan/describe.h"

namespace mbinfer {

struct PlanTables {
  explicit PlanTables(const Planned& planned);

  std::vector<mbi_segment> segments;
  std::vector<mbi_stage> stages;
  std::vector<mbi_buffer> buffers;

 private:
  std::vector<SegmentInfo> described_;  // has the lists that the structs point to
  std::vector<mbi_pass> passes_;
};

}  // namespace mbinfer
