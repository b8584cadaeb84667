#include "plan/stagewise.h"

#include <algorithm>
#include <cmath>

#include "plan/cost.h"
#include "plan/rows.h"

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
int64_t overlap_of(const Graph& graph, const Stage& stage) {
  const Value &in = graph.values[stage.input], &out = graph.values[stage.output];
  int64_t distance = 0;
  for_each_write(graph, stage, stage.input, 0, stage.rows, [&](int end, int row) {
    if (row < in.shape.height) distance = std::max(distance, end * out.row_bytes() - row * in.row_bytes());
  });
  return std::max<int64_t>(
      0, std::min(aligned(std::min(in.bytes(), out.bytes())), aligned(out.bytes()) - aligned(distance)));
}

// Leaves the ways that no other one beats in scratch, in scratch less overlap, and in cycles.
void prune(std::vector<Way>* ways) {
  std::stable_sort(ways->begin(), ways->end(), [](const Way& a, const Way& b) { return a.cycles < b.cycles; });
  size_t kept = 0;
  for (const Way& way : *ways) {
    bool beaten = false;
    for (size_t i = 0; i < kept && !beaten; i++) {
      const Way& other = (*ways)[i];
      beaten = other.scratch <= way.scratch && other.scratch - other.overlap <= way.scratch - way.overlap;
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

int strips_allowed(const Graph& graph, const std::vector<Stage>& stages) {
  int strips = 1 << 16;
  for (int64_t all; strips > kFewestStrips; strips /= 2) {
    all = 0;
    for (const Stage& s : stages)
      all += std::min(strips, std::max(graph.values[s.output].shape.height, graph.values[s.input].shape.height));
    if (all <= kStrips) break;
  }
  return strips;
}

Stagewise::Stagewise(const Graph& graph, Schedule schedule, std::vector<Stage> stages, bool whole, Work* work)
    : graph_(graph), schedule_(schedule), whole_(whole), work_(work) {
  std::vector<std::vector<Way>> ways;
  std::vector<StageScratch> scratch;
  const int strips = strips_allowed(graph, stages);
  for (const Stage& s : stages) {
    ways.push_back(ways_of(s, strips));
    StageScratch least = {INT64_MAX, INT64_MAX};
    for (const Way& way : ways.back()) {
      least.beside = std::min(least.beside, way.scratch);
      least.over_input = std::min(least.over_input, way.scratch - way.overlap);
    }
    scratch.push_back(least);
  }
  std::vector<Stage> ordered;
  ordered.reserve(stages.size());
  for (int s : least_memory_order(graph, stages, scratch, work)) {
    ordered.push_back(std::move(stages[size_t(s)]));
    ways_.push_back(std::move(ways[size_t(s)]));
  }
  std::vector<Stage>().swap(stages);  // a caller's argument may live as long as this
  stages_ = std::make_shared<const std::vector<Stage>>(std::move(ordered));
  lives_ = lives_of(graph, *stages_);
  live_ = live_bytes(graph, *stages_, lives_);
  for (int s = 0; s < int(stages_->size()); s++) {
    int64_t least = INT64_MAX;
    for (const Way& way : ways_[size_t(s)]) least = std::min(least, bytes(s, way));
    smallest_.push_back(least);
    counted_ = std::max(counted_, live_[size_t(s)] + least);
  }
}

std::vector<Way> Stagewise::ways_of(const Stage& stage, int strips) const {
  Stage s = stage;
  std::vector<Way> ways;
  auto add = [&](int chunk, int step, int64_t overlap, double cycles) {
    ways.push_back({chunk, step, aligned(s.transient_bytes()), overlap, cycles});
  };
  if (whole_ || !s.bottleneck()) {
    const int step = whole_ ? INT_MAX : ceil_div(graph_.values[s.output].shape.height, strips);
    set_whole(graph_, &s, INT_MAX, step);
    add(INT_MAX, step, overlap_of(graph_, s), whole_ ? 0 : stage_cycles(graph_, s, count_steps(graph_, s)));
    return ways;
  }
  const std::vector<int> chunks = even_chunks(expanded_channels(graph_, s));
  const int height = graph_.values[s.input].shape.height;
  for (int step = ceil_div(height, strips), last = 0; step != last; last = step, step = std::min(2 * step, height)) {
    set_whole(graph_, &s, kPanel, step);
    const StepCounts counts = count_steps(graph_, s);
    const int64_t in_chunks = overlap_of(graph_, s);  // the same for every chunk but the whole
    for (size_t i = chunks.size(); i-- > 0;) {
      set_whole(graph_, &s, chunks[i], step);
      add(chunks[i], step, chunk_count(graph_, s) > 1 ? in_chunks : overlap_of(graph_, s),
          stage_cycles(graph_, s, counts));
    }
  }
  prune(&ways);
  return {ways.begin(), ways.end()};
}

int64_t Stagewise::bytes(int stage, const Way& way) const {
  return way.scratch - (frees_input((*stages_)[size_t(stage)], stage, lives_) ? way.overlap : 0);
}

const Way& Stagewise::fastest_way(int stage, int64_t most, bool over) const {
  const std::vector<Way>& ways = ways_[size_t(stage)];
  auto needs = [&](const Way& way) { return over ? bytes(stage, way) : way.scratch; };
  const Way *best = nullptr, *smallest = &ways[0];
  for (const Way& way : ways) {  // by rising cycles
    if (needs(way) < needs(*smallest)) smallest = &way;
    const bool in_cache = way.scratch <= kScratchInCache * (*stages_)[size_t(stage)].threads;
    if (!best && in_cache && needs(way) <= most - live_[size_t(stage)]) best = &way;
  }
  return best ? *best : *smallest;
}

Draft Stagewise::smallest() const {
  std::vector<const Way*> chosen;
  for (int s = 0; s < int(stages_->size()); s++)
    for (const Way& way : ways_[size_t(s)])
      if (bytes(s, way) == smallest_[size_t(s)]) {
        chosen.push_back(&way);
        break;
      }
  return with(chosen);
}

Draft Stagewise::least_scratch() const {
  std::vector<const Way*> chosen;
  for (const std::vector<Way>& ways : ways_)
    chosen.push_back(
        &*std::min_element(ways.begin(), ways.end(), [](const Way& a, const Way& b) { return a.scratch < b.scratch; }));
  return with(chosen);
}

Draft Stagewise::fastest(int64_t most, bool over) const {
  std::vector<const Way*> chosen;
  for (int s = 0; s < int(stages_->size()); s++) chosen.push_back(&fastest_way(s, most, over));
  return with(chosen);
}

double Stagewise::fastest_cycles() const {
  double cycles = 0;
  for (int s = 0; s < int(stages_->size()); s++) cycles += fastest_way(s, INT64_MAX, false).cycles;
  return cycles;
}

Draft Stagewise::with(const std::vector<const Way*>& ways) const {
  Draft draft;
  draft.schedule = schedule_;
  draft.stages = stages_;
  for (int s = 0; s < int(stages_->size()); s++) {
    Stage stage = (*stages_)[size_t(s)];
    set_whole(graph_, &stage, ways[size_t(s)]->chunk, ways[size_t(s)]->step);
    draft.splits.push_back({stage.rows, stage.chunk, stage.step, stage.keep});
    draft.segments.push_back({s, s + 1});
  }
  weigh(graph_, &draft, work_);
  return draft;
}

}  // namespace mbinfer
