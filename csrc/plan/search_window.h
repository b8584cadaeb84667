// The search over a window of the stages: dynamic programming twice over. Inside a segment, stages are added one by
// one; what the next stage must know of those before it is the strip height of the last one, because that alone decides
// how many rows the ring between them holds. For each strip height a Pareto set of (bytes, cycles) is kept. Over the
// network, segments are edges between cut points, and the plan is the cheapest path whose segments all fit the limit. A
// path goes no further where, even if all later stages ran the cheapest way that fits, it would cost more than a plan
// that is known: its own, with every later stage alone.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "plan/alone.h"
#include "plan/choices.h"
#include "plan/cost.h"
#include "plan/cuts.h"
#include "plan/paths.h"
#include "plan/scratch_order.h"
#include "plan/search.h"
#include "plan/slide.h"

namespace mbinfer {

class SegmentSearch::Impl {
 public:
  // Stages [first, last) of those that `lives` and `waiting` know.
  Impl(const Graph& graph, const Stages& stages, int first, int last, const Lives& lives,
       const PageVector<int64_t>& waiting, const ChoiceRules& rules, int64_t work)
      : graph_(graph),
        stages_(stages.data() + first),
        first_(first),
        count_(last - first),
        waiting_(waiting.data() + first),
        costs_(rules.costs),
        most_(rules.most),
        choices_(&memory_),
        slides_(graph, stages_, first, lives, choices_),
        alone_(choices_, slides_, waiting_, count_),
        order_(make_all(rules), &memory_),
        cuts_(count_),
        work_(work),
        paths_(&memory_) {}

  int64_t spent() const { return spent_; }
  bool complete() const { return complete_; }

  bool smallest(int64_t limit, PageVector<Split>* splits, int64_t* bytes) {
    allowance_ = work_;
    start(std::min(limit, most_), true);
    search();
    *bytes = cuts_.has_plan() ? int64_t(cuts_.best()) : -1;
    return path(splits);
  }

  bool cheapest(int64_t limit, double cycles, int64_t work, PageVector<Split>* splits) {
    allowance_ = std::min(work_, work);
    start(std::min(limit, most_), false);
    cuts_.bound(cycles);
    if (cuts_.beyond_bound(cuts_.least_after(0))) return false;
    find_alone();
    cuts_.bound(std::min(cycles, cuts_.most_after(0)));
    search();
    return path(splits);
  }

  bool any(int64_t limit, double* cycles, int64_t work, PageVector<Split>* splits, int64_t* bytes) {
    allowance_ = std::min(work_, work);
    start(std::min(limit, most_), std::isinf(*cycles));
    cuts_.bound(*cycles);
    if (cuts_.beyond_bound(cuts_.least_after(0))) return false;
    find_alone();
    any_ = true;
    if (!end_with_alone(0)) search();
    if (!found_) return false;
    *bytes = largest_segment();
    if (!at_any_cost_) *cycles = std::min(*cycles, found_cycles_);
    return path(splits);
  }

 private:
  const Value& value(int v) const { return graph_.values[v]; }

  const Option& option(Choice of) const { return choices_[of.stage].options[of.option]; }

  const Choices& make_all(const ChoiceRules& rules) {
    choices_.make(graph_, stages_, count_, rules, [&](int stage) { return slides_.linked(stage); });
    return choices_;
  }

  // --- segments -----------------------------------------------------------------------------------------------------

  void search() {
    find_usable();
    for (int a = 0; a < count_ && !found_; a++) {
      if (!cuts_.may_begin(a)) continue;
      extend_from(a);
      find_most_of_options(0);
      order_.drop([&](Choice of) { return of.stage == a || option(of).cycles > most_of_options_[of.stage]; });
    }
  }

  void start(int64_t limit, bool at_any_cost) {
    limit_ = limit;
    spent_ = 0;
    at_any_cost_ = at_any_cost;
    any_ = found_ = false;
    for (std::vector<uint16_t>& due : due_) due.clear();
    cuts_.start(at_any_cost, [&](int s) {
      double least = INFINITY;
      for (const Option& o : choices_[s].options)
        if (choices_[s].least(o) <= limit) least = std::min(least, cycles(o));
      return least;
    });
  }

  // The options that may be part of a plan at all: those that fit by themselves.
  void find_usable() {
    find_most_of_options(0);
    order_.use([&](Choice of) {
      const Option& o = option(of);
      return (at_any_cost_ ? o.lean : o.cycles <= most_of_options_[of.stage]) && choices_[of.stage].least(o) <= limit_;
    });
  }

  double cycles(const Option& option) const { return at_any_cost_ ? 0 : option.cycles; }

  // Segments from stage a on. The scratch that passes is shared by the stages of a segment: options are let in by
  // rising scratch, and each time those paths are made that have one of the new options.
  void extend_from(int a) {
    int end = a + 1;
    while (end < count_ && slides_.linked(end - 1)) end++;
    around_ = waiting_[a];
    most_overlaps_.resize(size_t(count_));
    slides_.most_overlaps(a, end, most_overlaps_.data());
    due_.resize(size_t(count_));
    let_in_.resize(size_t(count_));
    // Where the share of the work that is left to one stage's segments does not do: again with fewer paths, then with
    // short segments; one of a single stage is looked at in any case.
    for (size_t kept : kPathsKept) {
      kept_ = kept;
      spent_before_ = spent_;
      allowed_ = (allowance_ - spent_) / (count_ - a) * kShare;
      if (extend_from(a, end)) return;
      complete_ = false;
    }
    for (int length = kFewStages; !extend_from(a, std::min(end, a + length)) && length > 1; length /= 2) {
      spent_before_ = spent_;
      if (length == 2) allowed_ = INT64_MAX;
    }
  }

  // Up to stage `end`. False: the share of the work did not do.
  bool extend_from(int a, int end) {
    paths_.clear();
    for (int s = a; s < end; s++) let_in_[size_t(s)].clear();
    if (sets_.size() < size_t(end - a)) sets_.resize(size_t(end - a));
    for (PathSets& sets : sets_)
      for (PathSet& set : sets) set.clear();
    find_most_of_options(a);
    for (size_t next = 0; next < order_.size() && !found_;) {
      const int32_t lines = option(order_[next]).transient_lines;
      const int64_t scratch = lines * kArenaAlign;
      if (around_ + scratch > limit_) break;
      int first = end, last = a;  // stages with new options
      for (; next < order_.size() && option(order_[next]).transient_lines == lines; next++) {
        const Choice of = order_[next];
        const int s = of.stage;
        if (s < a || s >= end || option(of).cycles > most_of_options_[size_t(s)]) continue;
        due_[s].push_back(of.option);
        first = std::min(first, s);
        last = std::max(last, s);
      }
      if (first <= last) extend(a, first, last, end, scratch);
      if (end > a + 1 && over()) return false;
    }
    return true;
  }

  // The paths with at least one of the options that are due, which have `scratch` bytes of it, and others of less. The
  // options are of stages `first` to `last`.
  void extend(int a, int first, int last, int end, int64_t scratch) {
    const int first_new = paths_.size();
    PathSets fresh;  // the new paths to the stage before
    bool any_fresh = false;
    for (int b = first; b < end && (b <= last || any_fresh) && !found_; b++) {
      const int made = paths_.size();
      if (b == a)
        for (int o : due_[b]) begin_with(a, o);
      else if (!due_[b].empty())
        extend_by(a, b, due_[b], INFINITY, Fronts(paths_, sets_[b - a - 1]), scratch);
      if (any_fresh) extend_by(a, b, let_in_[b], cuts_.most_of_stage(a, b), Fronts(paths_, fresh), scratch);
      for (uint16_t o : due_[b]) let_in_[b].insert(std::lower_bound(let_in_[b].begin(), let_in_[b].end(), o), o);
      due_[b].clear();
      for (PathSet& set : fresh) set.clear();
      any_fresh = paths_.size() > made;
      if (!any_fresh) continue;
      for (size_t h = 0; h < fresh.size(); h++)
        for (int p : sets_[b - a][h]) {
          if (p < first_new) continue;
          fresh[h].push_back(p);
          if (!reads(a, b)) finish(a, b, scratch, paths_[p]);
        }
    }
  }

  // Whether stage b reads what stage a does: then its option decides how far a segment's output may slide.
  bool reads(int a, int b) const {
    return stages_[b].input == stages_[a].input || stages_[b].residual == stages_[a].input;
  }

  int64_t most_lines(int64_t scratch) const { return (limit_ - around_ - scratch) / kArenaAlign; }  // of a path

  void begin_with(int a, int o) {
    const Option& option = choices_[a].options[o];
    const Path path = {cycles(option) + far_input(a), option.kept_lines, uint16_t(o), kNoPath};
    spent_++;
    if (paths_.size() == kNoPath || path.lines > most_lines(option.transient()) ||
        path.cycles > cuts_.most_cycles(a, a))
      return;
    finish(a, a, option.transient(), path);
    size_t from = 0;
    paths_.insert(path, kept_, &sets_[0][option.height], &from);
  }

  // Makes paths to stage b of those to the stage before it, by those options that take no more cycles than `most`.
  void extend_by(int a, int b, const std::vector<uint16_t>& options, double most, const Fronts& before,
                 int64_t scratch) {
    for (int o : options) {
      const double own = choices_[b].options[o].cycles;
      if (own > most) continue;
      if (before.cycles() + cycles(choices_[b].options[o]) > cuts_.most_cycles(a, b))
        spent_ += before.paths();
      else
        extend_by(a, b, o, before, scratch);
    }
  }

  // Each takes a step of work, whether it is of use or not.
  void extend_by(int a, int b, int o, const Fronts& fronts, int64_t scratch) {
    const StageChoices& now = choices_[b];
    const Option& option = now.options[o];
    const int32_t* rings = now.rings.data() + option.way();  // by height of the stage before
    const int64_t most = most_lines(scratch);
    const double own = cycles(option);
    const bool ends = reads(a, b);
    double bound = cuts_.most_cycles(a, b);
    for (const Front& front : fronts) {
      const PathSet& set = *front.set;
      int64_t left = allowed_ - (spent_ - spent_before_);  // steps of work
      spent_ += int64_t(set.size());
      const int64_t more = int64_t(rings[front.height * now.reads.size()]) + option.kept_lines;
      if (front.lines + more > most || front.cycles + own > bound) continue;
      size_t from = 0;
      for (uint16_t p : set) {
        const Path before = paths_[p];
        if (left-- <= 0 || paths_.size() >= kMostPaths || before.lines + more > most) break;
        const Path path = {before.cycles + own, int32_t(before.lines + more), uint16_t(o), p};
        if (path.cycles > bound) continue;
        if (ends) {
          const int64_t spent = spent_;
          finish(a, b, scratch, path);
          left -= spent_ - spent;
          bound = cuts_.most_cycles(a, b);
        }
        paths_.insert(path, kept_, &sets_[b - a][option.height], &from);
      }
    }
  }

  void find_most_of_options(int a) {  // by stage: as the segments from stage a on begin
    most_of_options_.resize(size_t(count_));
    for (int s = a; s < count_; s++) most_of_options_[size_t(s)] = cuts_.most_of_stage(a, s);
  }

  // Whether the segments from one stage on have had their share.
  bool over() const { return spent_ - spent_before_ > allowed_ || paths_.size() >= kMostPaths; }

  // Cycles to read the input of a segment from stage a on.
  double far_input(int a) const {
    const bool whole = slides_.in_arena(stages_[a].input);
    return whole && !at_any_cost_ ? whole_value_cycles(costs_, value(stages_[a].input)) : 0;
  }
  double far_output(int b) const { return whole_value_cycles(costs_, value(stages_[b].output)); }  // ... to write it

  // Every stage as a segment alone, the cheapest that fits.
  void find_alone() {
    cuts_.end_alone([&](int a) { return alone(a); });
  }

  // Cycles of the cheapest segment of stage a alone; at any cost 0, but where none fits. *chosen: its option.
  double alone(int a, int* chosen = nullptr) const {
    const AloneSegments::Segment& segment = alone_.cheapest(a, limit_, at_any_cost_, &spent_);
    if (chosen) *chosen = segment.option;
    return std::isinf(segment.cycles) ? INFINITY : at_any_cost_ ? 0 : segment.cycles + far_input(a) + far_output(a);
  }

  // Whether a plan is found where stages from `first` on are segments alone.
  bool end_with_alone(int first) {
    const double after = cuts_.most_after(first);
    found_cycles_ = cuts_.cost(first) + after;
    if (std::isinf(after) || (!at_any_cost_ && cuts_.beyond_bound(found_cycles_))) return false;
    for (int s = first; s < count_; s++) {
      int option = 0;
      alone(s, &option);
      cuts_.reach(s, {0, s, {option}});
    }
    return found_ = true;
  }

  // The path is segment [a, b]. Kept is the cheapest that fits, or, at any cost, the smallest.
  void finish(int a, int b, int64_t scratch, const Path& path) {
    if (found_) return;
    const double best = cuts_.cost(b + 1), cheapest = cuts_.cost(a) + path.cycles + far_output(b);
    if (!at_any_cost_ && cheapest >= best) return;
    const int64_t most = most_overlaps_[size_t(b)];
    int64_t bytes = around_ + path.bytes() + scratch + slides_.made_bytes(b);
    auto cost = [&](int64_t all) { return at_any_cost_ ? std::max(cuts_.cost(a), double(all)) : cheapest; };
    if (bytes - most > limit_ || cost(bytes - most) >= best) return;
    std::vector<int> options(size_t(b - a + 1));
    options.back() = path.option;
    for (int s = b - a - 1, p = path.before; s >= 0; s--, p = paths_[p].before) options[s] = paths_[p].option;
    if (most && ((at_any_cost_ && !any_) || bytes > limit_)) bytes -= slides_.overlap(a, options, &spent_);
    if (bytes > limit_ || cost(bytes) >= best) return;
    cuts_.reach(b, {cost(bytes), a, std::move(options)});
    if (any_) end_with_alone(b + 1);
  }

  // Bytes of the largest segment of the plan that was found.
  int64_t largest_segment() const {
    int64_t most = 0;
    cuts_.for_each_segment([&](const Cuts::Reached& way, int) {
      most = std::max(most, waiting_[way.from] + slides_.bytes(way.from, way.options, &spent_));
    });
    return most;
  }

  bool path(PageVector<Split>* splits) const {
    if (!cuts_.has_plan()) return false;
    cuts_.for_each_segment([&](const Cuts::Reached& way, int end) {
      for (int s = way.from; s < end; s++) {
        const StageChoices& choices = choices_[size_t(s)];
        (*splits)[size_t(first_ + s)] = choices.split(choices.options[size_t(way.options[size_t(s - way.from)])]);
      }
      (*splits)[size_t(first_ + end - 1)].ends = true;
    });
    return true;
  }

  const Graph& graph_;
  const Stage* stages_;
  const int first_, count_;
  const int64_t* waiting_;  // by stage: bytes of the values made before it that it or a later one reads
  const CostModel costs_;
  const int64_t most_;
  Blocks memory_;
  Choices choices_;
  const Slides slides_;
  mutable AloneSegments alone_;
  ScratchOrder order_;  // usable: in the search that runs, by a plan from here on

  // Of the search that runs.
  int64_t limit_ = 0;
  bool at_any_cost_ = false;
  bool any_ = false, found_ = false;  // any plan is enough; there is one
  double found_cycles_ = 0;           // which takes so many
  Cuts cuts_;
  std::vector<double> most_of_options_;  // by stage: its most cycles, when that was last found
  const int64_t work_;                   // that a search may take
  int64_t allowance_ = 0;                // that this one may
  mutable int64_t spent_ = 0;
  bool complete_ = true;

  // Of the segments from one stage on.
  int64_t around_ = 0;
  std::vector<int64_t> most_overlaps_;  // by last stage
  int64_t spent_before_ = 0, allowed_ = 0;
  size_t kept_ = 0;
  Paths paths_;
  PageVector<PathSets> sets_;                        // by stage: Pareto sets of paths
  std::vector<std::vector<uint16_t>> due_, let_in_;  // by stage: options that are let in next, and those that are
};

}  // namespace mbinfer
