#include "plan/stagewise.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "plan/cost.h"
#include "plan/rows.h"
#include "plan/scratch.h"

namespace mbinfer {
namespace {

int64_t aligned(int64_t bytes) { return round_up(bytes, kArenaAlign); }

// The channels of a chunk that split `channels` evenly, falling.
std::vector<int> even_chunks(int channels) {
  std::vector<int> chunks;
  for (int count = 1; count <= channels;) {
    const int chunk = round_up(ceil_div(channels, count), kPanel);
    chunks.push_back(chunk);
    if (chunk == kPanel) break;
    count = std::max(count + 1, ceil_div(channels, chunk - kPanel));
  }
  return chunks;
}

// Bytes in which the output of a whole map, made step by step, may lie over the stage's input.
int64_t overlap_of(const Graph& graph, const Homes& homes, const Stage& stage) {
  const Home home_in = homes.of(stage.input), home_out = homes.of(stage.output);
  const Value &in = graph.values[home_in.value], &out = graph.values[home_out.value];
  const Value &read = graph.values[stage.input], &made = graph.values[stage.output];
  int64_t distance = 0;
  for_each_write(graph, stage, stage.input, 0, stage.rows, [&](int end, int row) {
    if (row < read.shape.height) distance = std::max(distance, home_out.end(made, end) - home_in.begin(read, row));
  });
  return std::max<int64_t>(
      0, std::min(aligned(std::min(in.bytes(), out.bytes())), aligned(out.bytes()) - aligned(distance)));
}

// Leaves the ways that no other one beats in scratch, in scratch less overlap, and in cycles.
void prune(PageVector<Way>* ways) {
  std::stable_sort(ways->begin(), ways->end(), [](const Way& a, const Way& b) { return a.cycles < b.cycles; });
  size_t kept = 0;
  for (const Way& way : *ways) {
    bool beaten = false;
    for (size_t i = 0; i < kept && !beaten; i++) {
      const Way& other = (*ways)[i];
      beaten = other.scratch_lines <= way.scratch_lines &&
               other.scratch_lines - other.overlap_lines <= way.scratch_lines - way.overlap_lines;
    }
    if (!beaten) (*ways)[kept++] = way;
  }
  ways->resize(kept);
}

}  // namespace

void set_whole(const Graph& graph, Stage* stage, int chunk, int step) {
  stage->rows = graph.values[stage->output].shape.height;
  stage->keep = false;
  stage->chunk = stage->bottleneck() ? std::min(chunk, expanded_channels(graph, *stage)) : 0;
  const int stepped = stepped_rows(graph, *stage, 0, stage->rows).count();
  stage->step = in_steps(graph, *stage) ? std::min(step, stepped) : stage->rows;
  size_scratch(graph, stage);
}

int strips_allowed(const Graph& graph, const Stages& stages) {
  int strips = 1 << 16;
  for (int64_t all; strips > kFewestStrips; strips /= 2) {
    all = 0;
    for (const Stage& s : stages)
      all += std::min(strips, std::max(graph.values[s.output].shape.height, graph.values[s.input].shape.height));
    if (all <= kStrips) break;
  }
  return strips;
}

Draft whole_draft(const Graph& graph, Schedule schedule, std::shared_ptr<const StageOrder> order, Stages stages,
                  int chunks, Work* work) {
  Draft draft;
  draft.schedule = schedule;
  draft.order = std::move(order);
  draft.splits.reserve(stages.size());
  for (Stage& stage : stages) {
    const int chunk = round_up(ceil_div(std::max(1, expanded_channels(graph, stage)), chunks), kPanel);
    set_whole(graph, &stage, chunk, INT_MAX);
    draft.splits.emplace_back(stage.rows, stage.chunk, stage.step, stage.keep);
    draft.splits.back().ends = true;
  }
  weigh(graph, Lives(graph, stages, draft.order->rules.homes), &draft, &stages, work);
  return draft;
}

namespace {

// By value: the stage that makes it, or -1.
std::vector<int> makers(const Graph& graph, const Stages& stages) {
  std::vector<int> maker(graph.values.size(), -1);
  for (int s = 0; s < int(stages.size()); s++) maker[size_t(stages[size_t(s)].output)] = s;
  return maker;
}

// Whether two stages that make the same value are the same nodes.
bool same_nodes(const Stage& a, const Stage& b) {
  bool same = a.input == b.input && a.residual == b.residual && a.gate == b.gate && a.split == b.split &&
              a.through == b.through && a.again == b.again && a.part_count() == b.part_count();
  for (int p = 0; same && p < a.part_count(); p++)
    same = a.parts[p].node == b.parts[p].node && a.parts[p].add == b.parts[p].add;
  return same;
}

}  // namespace

Stagewise::Stagewise(const Graph& graph, Schedule schedule, StageOrder order, bool whole, Work* work,
                     const Stagewise* known)
    : graph_(graph), schedule_(schedule), whole_(whole), work_(work) {
  find_stages(std::move(order), known);
  lives_.emplace(graph, stages_, order_->rules.homes);
  live_ = lives_->live_bytes();
  for (int s = 0; s < int(stages_.size()); s++) counted_ = std::max(counted_, counted(s));
}

void Stagewise::find_stages(StageOrder order, const Stagewise* known) {
  stages_ = make_stages(graph_, order.fusion, order.rules, order.apart);
  const int count = int(stages_.size());
  strips_ = strips_allowed(graph_, stages_);
  if (known && known->strips_ != strips_) known = nullptr;
  const std::vector<int> maker = known ? makers(graph_, known->stages_) : std::vector<int>();
  std::vector<int> firsts;
  std::vector<uint16_t> counts;
  PageVector<StageScratch> scratch;
  ways_.reserve(size_t(count));
  firsts.reserve(size_t(count));
  counts.reserve(size_t(count));
  scratch.reserve(size_t(count));
  const auto at_home = [&](const Stage& s) {
    return order.rules.homes.of(s.input).value == s.input && order.rules.homes.of(s.output).value == s.output;
  };
  for (const Stage& s : stages_) {
    const int before = at_home(s) ? alike_before(graph_, stages_.data(), int(firsts.size())) : -1;
    if (before >= 0 && at_home(stages_[size_t(before)])) {
      firsts.push_back(firsts[size_t(before)]);
      counts.push_back(counts[size_t(before)]);
      scratch.push_back(scratch[size_t(before)]);
      continue;
    }
    firsts.push_back(int(ways_.size()));
    const int same = known ? maker[size_t(s.output)] : -1;
    if (same >= 0 && same_nodes(known->stages_[size_t(same)], s)) {
      ways_.insert(ways_.end(), known->ways(same).begin(), known->ways(same).end());
    } else {
      const PageVector<Way> all = ways_of(s, order.rules.homes);
      ways_.insert(ways_.end(), all.begin(), all.end());
    }
    counts.push_back(uint16_t(ways_.size() - size_t(firsts.back())));
    StageScratch least = {INT64_MAX, INT64_MAX};
    for (size_t w = size_t(firsts.back()); w < ways_.size(); w++) {
      const Way& way = ways_[w];
      least.beside = std::min(least.beside, way.scratch());
      least.over_input = std::min(least.over_input, way.scratch() - way.overlap());
    }
    scratch.push_back(least);
  }
  order.order = least_memory_order(graph_, stages_, order.rules.homes, scratch, work_);
  put_in_order(order.order, &stages_);
  first_way_.reserve(size_t(count));
  way_count_.reserve(size_t(count));
  for (int s : order.order) {
    first_way_.push_back(firsts[size_t(s)]);
    way_count_.push_back(counts[size_t(s)]);
  }
  order_ = std::make_shared<const StageOrder>(std::move(order));
}

PageVector<Way> Stagewise::ways_of(const Stage& stage, const Homes& homes) const {
  Stage s = stage;
  PageVector<Way> ways;
  auto add = [&](int chunk, int step, int64_t overlap, double cycles) {
    ways.push_back(
        {chunk, step, cycles, int32_t(aligned(s.transient_bytes()) / kArenaAlign), int32_t(overlap / kArenaAlign)});
  };
  if (whole_ || !s.bottleneck()) {
    const int step = whole_ ? INT_MAX : ceil_div(graph_.values[s.output].shape.height, strips_);
    set_whole(graph_, &s, INT_MAX, step);
    add(INT_MAX, step, overlap_of(graph_, homes, s),
        whole_ ? 0 : StageCost(graph_, work_->costs, s).cycles(count_steps(graph_, s), s.chunk));
    return ways;
  }
  const std::vector<int> chunks = even_chunks(expanded_channels(graph_, s));
  const int height = graph_.values[s.input].shape.height;
  ways.reserve(chunks.size());
  const StageCost cost(graph_, work_->costs, s);
  ScratchSizes sizes(graph_, &s);
  for (int step = ceil_div(height, strips_), last = 0; step != last; last = step, step = std::min(2 * step, height)) {
    prune(&ways);
    set_whole(graph_, &s, kPanel, step);
    const StepCounts counts = count_steps(graph_, s);
    const int64_t in_chunks = overlap_of(graph_, homes, s);  // the same for every chunk but the whole
    for (size_t i = chunks.size(); i-- > 0;) {
      s.chunk = std::min(chunks[i], chunks[0]);
      sizes.set();
      add(chunks[i], step, chunk_count(graph_, s) > 1 ? in_chunks : overlap_of(graph_, homes, s),
          cost.cycles(counts, s.chunk));
    }
  }
  prune(&ways);
  return {ways.begin(), ways.end()};
}

int64_t Stagewise::bytes(int stage, const Way& way) const {
  return way.scratch() - (lives_->frees_input(&stages_[size_t(stage)], stage, 1) ? way.overlap() : 0);
}

int64_t Stagewise::smallest(int stage) const {
  int64_t least = INT64_MAX;
  for (const Way& way : ways(stage)) least = std::min(least, bytes(stage, way));
  return least;
}

const Way& Stagewise::fastest_way(int stage, int64_t most, bool over) const {
  auto needs = [&](const Way& way) { return over ? bytes(stage, way) : way.scratch(); };
  const Way *best = nullptr, *smallest = ways(stage).first;
  for (const Way& way : ways(stage)) {
    if (needs(way) < needs(*smallest)) smallest = &way;
    const bool in_cache = way.scratch() <= kScratchInCache * stages_[size_t(stage)].threads;
    if (!best && in_cache && needs(way) <= most - live_[size_t(stage)]) best = &way;
  }
  return best ? *best : *smallest;
}

Candidate Stagewise::smallest() {
  return with([&](int s) -> const Way& {
    const int64_t least = smallest(s);
    return *std::find_if(ways(s).begin(), ways(s).end(), [&](const Way& way) { return bytes(s, way) == least; });
  });
}

Candidate Stagewise::least_scratch() {
  return with([&](int s) -> const Way& {
    return *std::min_element(ways(s).begin(), ways(s).end(),
                             [](const Way& a, const Way& b) { return a.scratch_lines < b.scratch_lines; });
  });
}

Candidate Stagewise::fastest(int64_t most, bool over) {
  return with([&](int s) -> const Way& { return fastest_way(s, most, over); });
}

double Stagewise::cycles_within(int64_t most) const {
  double cycles = 0;
  for (int s = 0; s < int(stages_.size()); s++) {
    const Value &in = graph_.values[stages_[size_t(s)].input], &out = graph_.values[stages_[size_t(s)].output];
    cycles += fastest_way(s, most, true).cycles + whole_value_cycles(work_->costs, out) +
              (lives_->of(stages_[size_t(s)].input).maker >= 0 ? whole_value_cycles(work_->costs, in) : 0);
  }
  return cycles;
}

Candidate Stagewise::smallest_of(double cycles) {
  int64_t low = counted_, high = 2 * counted_;
  while (high < INT64_MAX / 2 && cycles_within(high) > cycles) high *= 2;
  while (double(high) > kSmallestStep * double(low)) {
    const int64_t middle = low + (high - low) / 2;
    (cycles_within(middle) <= cycles ? high : low) = middle;
  }
  return fastest(high, true);
}

double Stagewise::fastest_cycles() const {
  double cycles = 0;
  for (int s = 0; s < int(stages_.size()); s++) cycles += fastest_way(s, INT64_MAX, false).cycles;
  return cycles;
}

template <class WayOf>
Candidate Stagewise::with(WayOf&& way_of) {
  Draft draft;
  draft.schedule = schedule_;
  draft.order = order_;
  draft.splits.reserve(stages_.size());
  for (int s = 0; s < int(stages_.size()); s++) {
    Stage& stage = stages_[size_t(s)];
    const Way& way = way_of(s);
    set_whole(graph_, &stage, way.chunk, way.step);
    draft.splits.emplace_back(stage.rows, stage.chunk, stage.step, stage.keep);
    draft.splits.back().ends = true;
  }
  for (const std::weak_ptr<const Draft>& known : known_)
    if (const Candidate same = known.lock(); same && same->splits == draft.splits) return same;
  weigh(graph_, *lives_, &draft, &stages_, work_);
  const Candidate made = std::make_shared<const Draft>(std::move(draft));
  known_.push_back(made);
  return made;
}

}  // namespace mbinfer
