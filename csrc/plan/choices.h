// The ways in which the search may run a stage: strip heights, steps, chunks, expanded rows kept or made again.
#pragma once

#include <cstdint>
#include <memory_resource>
#include <utility>
#include <vector>

#include "plan/cost_model.h"
#include "plan/draft.h"
#include "plan/rows.h"
#include "plan/stages.h"

namespace mbinfer {

// One way to run a stage, and what it costs. Thousands of them are held at once: bytes are counted in lines of
// kArenaAlign bytes.
struct Option {
  double cycles;
  int32_t kept_lines, transient_lines;  // what is kept from strip to strip; scratch of a strip
  int32_t step;
  uint16_t panels;     // of a chunk
  uint8_t height : 5;  // index in StageChoices::heights
  bool keep : 1;
  bool lean : 1;  // no option of its height takes fewer bytes, kept or for the moment, at any cost

  int way() const { return height * 2 + keep; }
  int64_t kept() const { return kept_lines * kArenaAlign; }
  int64_t transient() const { return transient_lines * kArenaAlign; }
};

static_assert(sizeof(Option) == 24, "thousands of them");

struct StageChoices {
  explicit StageChoices(std::pmr::memory_resource* memory)
      : heights(memory), options(memory), reads(memory), rings(memory), least_rings(memory) {}

  std::pmr::vector<int> heights;
  std::pmr::vector<Option> options;                // by rising height, then cycles
  std::pmr::vector<std::pmr::vector<Rows>> reads;  // by way and strip: rows of the input, up to all that were read
  std::pmr::vector<int32_t> rings;                 // lines of the ring before the stage, by height of the producer, way
  std::pmr::vector<int32_t> least_rings;           // of the smallest of them, by way

  // Bytes that any segment with it needs.
  int64_t least(const Option& o) const { return o.kept() + o.transient() + least_rings[size_t(o.way())] * kArenaAlign; }
  int rows(const Option& option) const { return heights[option.height]; }
  Split split(const Option& o) const { return {rows(o), o.panels * kPanel, o.step, o.keep}; }
};

struct ChoiceRules {
  CostModel costs;
  bool recompute;  // strips may expand rows again
  int64_t most;    // bytes of any option
  int strips;      // of a map, and steps
  int options;     // of a stage
};

// `before`: of the stage whose rows this one may take from a ring, or null.
// They live in `memory`, which nothing is given back to before the end. room: for the options that are looked at.
StageChoices make_choices(const Graph& graph, const Stage& stage, const StageChoices* before, const ChoiceRules& rules,
                          std::pmr::memory_resource* memory, PageVector<Option>* room);

// Of the stages of a window, one after the other. Blocks that are repeated share theirs.
class Choices {
 public:
  // All of it lives in `memory`, which nothing is given back to before the end.
  explicit Choices(std::pmr::memory_resource* memory) : made_(memory), of_(memory) {}

  // linked(s): whether stage s + 1 may take the rows of stage s from a ring.
  template <class Linked>
  void make(const Graph& graph, const Stage* stages, int count, const ChoiceRules& rules, Linked&& linked) {
    made_.reserve(size_t(count));  // for good: each is made by the one before
    of_.reserve(size_t(count));
    PageVector<Option> room;
    auto before = [&](int s) { return s > 0 && linked(s - 1) ? &(*this)[size_t(s) - 1] : nullptr; };
    for (int s = 0; s < count; s++) {
      const int same = alike_before(graph, stages, s);
      if (same >= 0 && rings_alike(before(same), before(s))) {
        of_.push_back(of_[size_t(same)]);
        continue;
      }
      made_.push_back(make_choices(graph, stages[s], before(s), rules, made_.get_allocator().resource(), &room));
      of_.push_back(uint16_t(made_.size() - 1));
    }
  }

  const StageChoices& operator[](size_t stage) const { return made_[of_[stage]]; }
  size_t size() const { return of_.size(); }  // stages

 private:
  // Of the stages before two that are alike, or null where no ring is.
  static bool rings_alike(const StageChoices* a, const StageChoices* b) {
    return a && b ? a->heights == b->heights : a == b;
  }

  std::pmr::vector<StageChoices> made_;
  std::pmr::vector<uint16_t> of_;  // by stage
};

}  // namespace mbinfer
