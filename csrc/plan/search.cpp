// Dynamic programming twice over. Inside a segment, stages are added one by one; what the next stage must know of those
// before it is the strip height of the last one, because that alone decides how many rows the ring between them holds.
// For each strip height a Pareto set of (bytes, cycles) is kept. Over the network, segments are edges between cut
// points, and the plan is the cheapest path whose segments all fit the limit. A path goes no further where, even if all
// later stages ran the cheapest way that fits, it would cost more than a plan that is known: its own, with every later
// stage alone.
#include "plan/search.h"

#include <algorithm>
#include <cmath>

#include "plan/cost.h"
#include "plan/rows.h"
#include "plan/stages.h"

namespace mbinfer {
namespace {

constexpr int kHeights[] = {1, 2, 3, 4, 7, 8, 14};
constexpr int kSteps[] = {1, 2, 4, 7};
constexpr int kChunks[] = {8, 16, 32, 64, 96, 192, 384, 1 << 20};

constexpr size_t kPathsKept = 24;       // of a Pareto set
constexpr double kRounding = 1 + 1e-9;  // of sums of cycles in another order

int64_t aligned(int64_t bytes) { return round_up(bytes, kArenaAlign); }

struct Split {
  int rows, step, chunk;
  bool keep;
};

// One way to run a stage, and what it costs.
struct Option {
  Split split;
  int height;               // index of split.rows in Choices::heights
  int64_t kept, transient;  // bytes: expanded rows kept from strip to strip; scratch of a strip
  int64_t least;            // bytes of any segment with it: these, and the smallest ring before the stage
  double cycles;
  int way() const { return height * 2 + split.keep; }
};

struct Choices {
  std::vector<int> heights;
  std::vector<Option> options;           // by rising height, then cycles
  std::vector<std::vector<Rows>> reads;  // by way and strip: rows of the input, up to all that were read
  std::vector<int> rings;                // rows of the ring before the stage, by height of the producer, way
};

// A way to run stages first .. of a segment, as a link to the way without its last stage.
struct Path {
  int64_t bytes;  // rings and kept rows
  double cycles;
  int option, before;  // of the last stage; index of the path without it
};

}  // namespace

class SegmentSearch::Impl {
 public:
  Impl(const Graph& graph, const std::vector<Stage>& stages, bool recompute, int64_t most)
      : graph_(graph), stages_(stages), count_(int(stages.size())), most_(most), recompute_(recompute) {
    find_lifetimes();
    for (int s = 0; s < count_; s++) {
      choices_.push_back(make_choices(s));
      for (int o = 0; o < int(choices_.back().options.size()); o++) by_scratch_.emplace_back(s, o);
    }
    std::stable_sort(by_scratch_.begin(), by_scratch_.end(),
                     [&](auto& a, auto& b) { return option(a).transient < option(b).transient; });
  }

  std::vector<Segment> smallest(std::vector<Stage>* stages, int64_t* bytes) {
    start(most_, true);
    for (int a = 0; a < count_; a++) extend_from(a);
    *bytes = reached_.back().from < 0 ? -1 : int64_t(reached_.back().cost);
    return path(stages);
  }

  std::vector<Segment> cheapest(int64_t limit, std::vector<Stage>* stages) {
    start(std::min(limit, most_), false);
    for (int a = count_ - 1; a >= 0; a--) tail_[size_t(a)] = tail_[size_t(a) + 1] + alone(a);
    for (int a = 0; a < count_; a++) extend_from(a);
    return path(stages);
  }

 private:
  const Value& value(int v) const { return graph_.values[v]; }

  const Option& option(const std::pair<int, int>& of) const { return choices_[of.first].options[of.second]; }

  static void apply(const Split& split, Stage* stage) {
    stage->rows = split.rows;
    stage->step = split.step;
    stage->chunk = split.chunk;
    stage->keep = split.keep;
  }

  // --- ways to run a stage ------------------------------------------------------------------------------------------

  Choices make_choices(int index) const {
    Choices all;
    Stage s = stages_[index];
    const int height = value(s.output).shape.height;
    for (int rows : kHeights)
      if (rows < height) all.heights.push_back(rows);
    all.heights.push_back(height);
    for (int rows : all.heights)
      for (bool keep : {false, true}) {
        apply({rows, 1, 0, keep}, &s);
        all.reads.emplace_back();
        for (int r0 = 0, end = 0; r0 < height; r0 += rows) {
          const Rows read = strip_rows(graph_, s, r0, std::min(height, r0 + rows));
          all.reads.back().push_back({read.begin, end = std::max(end, read.end)});
        }
      }
    const bool in_ring = index > 0 && linked(index - 1);
    for (int h = 0; in_ring && h < int(choices_[size_t(index) - 1].heights.size()); h++)
      for (int way = 0; way < int(all.reads.size()); way++)
        all.rings.push_back(
            ring_rows(choices_[size_t(index) - 1].heights[h], s, all.heights[size_t(way / 2)], all.reads[size_t(way)]));
    for (int h = 0; h < int(all.heights.size()); h++) {
      s.rows = all.heights[h];
      const size_t first = all.options.size();
      add_options(s, h, &all.options);
      prune(&all.options, first);
    }
    for (Option& o : all.options) {
      int ring = in_ring ? INT_MAX : 0;
      for (size_t i = size_t(o.way()); i < all.rings.size(); i += all.reads.size()) ring = std::min(ring, all.rings[i]);
      o.least = o.kept + o.transient + aligned(ring * value(s.input).row_bytes());
    }
    return all;
  }

  // Every chunk, step and choice of keeping that a strip height leaves.
  void add_options(Stage s, int h, std::vector<Option>* options) const {
    const int channels = expanded_channels(graph_, s), height = value(s.output).shape.height;
    const bool bottleneck = s.bottleneck();
    const int rows = stepped_rows(graph_, s, 0, s.rows).count();
    for (int step : kSteps) {
      if (step > rows && step > 1) break;
      for (bool keep : {false, true}) {
        if (keep && (!s.expands() || s.rows >= height)) continue;
        s.step = bottleneck ? step : s.rows;
        s.keep = keep;
        s.chunk = 0;
        const StepCounts counts = count_steps(graph_, s);
        if (!recompute_ && s.expands() &&
            counts.expanded_rows > value(graph_.nodes[s.parts[s.split - 1].node].output).shape.height)
          continue;
        int last = 0;
        for (int chunk : kChunks) {
          if (bottleneck) {
            s.chunk = round_up(ceil_div(channels, ceil_div(channels, std::min(chunk, channels))), kPanel);
            if (s.chunk == last) continue;
            last = s.chunk;
          }
          size_scratch(graph_, &s);
          const Split split = {s.rows, s.step, s.chunk, s.keep};
          const Option option = {
              split, h, aligned(s.kept_bytes()), aligned(s.transient_bytes()), 0, stage_cycles(graph_, s, counts)};
          if (option.kept + option.transient <= most_) options->push_back(option);
          if (!bottleneck) return;
        }
      }
    }
  }

  // Leaves the options that no other one beats in bytes kept, bytes for the moment, and cycles.
  static void prune(std::vector<Option>* options, size_t first) {
    std::stable_sort(options->begin() + ptrdiff_t(first), options->end(),
                     [](const Option& a, const Option& b) { return a.cycles < b.cycles; });
    size_t kept = first;
    for (size_t i = first; i < options->size(); i++) {
      bool beaten = false;
      for (size_t j = first; j < kept; j++)
        beaten =
            beaten || ((*options)[j].kept <= (*options)[i].kept && (*options)[j].transient <= (*options)[i].transient);
      if (!beaten) (*options)[kept++] = (*options)[i];
    }
    options->erase(options->begin() + ptrdiff_t(kept), options->end());
  }

  // Rows of the ring between a producer with strips of `made` rows and a stage with strips of `rows`.
  int ring_rows(int made, const Stage& s, int rows, const std::vector<Rows>& reads) const {
    const int in_height = value(s.input).shape.height;
    int most = 0, r0 = 0;
    for (const Rows& read : reads) {
      const int produced = std::min(in_height, round_up(read.end, made));
      const int oldest =
          std::min(read.begin, std::max(0, produced - 1) / made * made);  // of the strip made last, if not older
      most = std::max(most, produced - (s.residual == s.input ? std::min(oldest, r0) : oldest));
      r0 += rows;
    }
    return most;
  }

  // --- memory around a segment --------------------------------------------------------------------------------------

  void find_lifetimes() {
    producer_.assign(graph_.values.size(), -1);
    last_use_.assign(graph_.values.size(), -1);
    readers_.assign(graph_.values.size(), 0);
    for (int s = 0; s < count_; s++) {
      const Stage& stage = stages_[s];
      producer_[stage.output] = s;
      for (int v : {stage.input, stage.residual}) {
        if (v < 0 || (readers_[v] && last_use_[v] == s)) continue;
        last_use_[v] = s;
        readers_[v]++;
      }
    }
    for (const GraphOutput& out : graph_.outputs) last_use_[out.value] = count_;
  }

  // Whether stage s + 1 may take the rows of stage s from a ring.
  bool linked(int s) const {
    const int v = stages_[s].output;
    return stages_[s + 1].input == v && readers_[v] == 1 && last_use_[v] == s + 1;
  }

  // Bytes of the values alive while a segment from stage a on runs, beside its own output and rings; its input
  // included.
  int64_t alive(int a) const {
    int64_t bytes = 0;
    for (size_t v = 0; v < producer_.size(); v++)
      if (producer_[v] >= 0 && producer_[v] < a && last_use_[v] >= a) bytes += aligned(graph_.values[v].bytes());
    return bytes;
  }

  // Bytes in which the output of segment [a, b] may at most lie over its input, which must die there.
  int64_t most_overlap(int a, int b) const {
    const int in = stages_[a].input;
    if (producer_[in] < 0 || last_use_[in] > b) return 0;
    return aligned(std::min(value(in).bytes(), value(stages_[b].output).bytes()));
  }

  // Bytes in which it does.
  int64_t overlap(int a, const std::vector<int>& options) const {
    const int b = a + int(options.size()) - 1;
    return std::max<int64_t>(
        0, std::min(most_overlap(a, b), aligned(value(stages_[b].output).bytes()) - slide_distance(a, options)));
  }

  // Least distance of the segment's output below its input, by following the demand of each output strip to the input;
  // what measure_segment() finds by running every strip.
  int64_t slide_distance(int a, const std::vector<int>& chosen) const {
    const int b = a + int(chosen.size()) - 1;
    const int in = stages_[a].input, none = value(in).shape.height, height = value(stages_[b].output).shape.height;
    const int64_t out_row = value(stages_[b].output).row_bytes(), in_row = value(in).row_bytes();
    auto option = [&](int s) -> const Option& { return choices_[s].options[size_t(chosen[size_t(s - a)])]; };
    auto reads = [&](int s) -> const std::vector<Rows>& { return choices_[s].reads[size_t(option(s).way())]; };
    // The oldest input row that a stage reads from a strip on.
    auto oldest = [&](int s, int strip) {
      int row = none;
      if (strip >= int(reads(s).size())) return row;
      if (stages_[s].input == in) row = std::min(row, reads(s)[size_t(strip)].begin);
      if (stages_[s].residual == in) row = std::min(row, strip * option(s).split.rows);
      return row;
    };
    Stage final = stages_[b];
    apply(option(b).split, &final);
    int64_t distance = 0;
    for (int strip = 0; strip < int(reads(b).size()); strip++) {
      const int r0 = strip * final.rows, r1 = std::min(height, r0 + final.rows);
      int later = oldest(b, strip + 1);
      for (int s = b, at = strip; s > a; s--) {  // the strip of stage s that this demand reaches last
        at = (std::max(reads(s)[size_t(at)].end, 1) - 1) / option(s - 1).split.rows;
        later = std::min(later, oldest(s - 1, at + 1));
      }
      for_each_write(graph_, final, in, r0, r1, [&](int end, int row) {
        row = std::min(row, later);
        if (row < none) distance = std::max(distance, end * out_row - row * in_row);
      });
    }
    return aligned(distance);
  }

  // --- segments -----------------------------------------------------------------------------------------------------

  // The best way found to run the stages before a cut: its cycles, or, at any cost, the bytes of its largest segment,
  // and its last segment: first stage and options.
  struct Reached {
    double cost = INFINITY;
    int from = -1;
    std::vector<int> options;
  };

  void start(int64_t limit, bool at_any_cost) {
    limit_ = limit;
    at_any_cost_ = at_any_cost;
    bound_ = INFINITY;
    reached_.assign(size_t(count_) + 1, {});
    reached_[0].cost = 0;
    tail_.assign(size_t(count_) + 1, INFINITY);
    tail_.back() = 0;
    rest_.assign(size_t(count_) + 1, 0);
    for (int s = count_ - 1; s >= 0; s--) {
      double least = INFINITY;
      for (const Option& o : choices_[s].options)
        if (o.least <= limit) least = std::min(least, cycles(o));
      rest_[s] = rest_[s + 1] + least;
    }
  }

  double cycles(const Option& option) const { return at_any_cost_ ? 0 : option.cycles; }

  // Segments from stage a on. The scratch that passes is shared by the stages of a segment: options are let in by
  // rising scratch, and each time those paths are made that have one of the new options.
  void extend_from(int a) {
    if (!(reached_[a].cost < INFINITY) || reached_[a].cost + rest_[a] > bound_) return;
    int end = a + 1;
    while (end < count_ && linked(end - 1)) end++;
    around_ = alive(a);
    paths_.clear();
    sets_.assign(size_t(end - a), {});
    for (int b = a; b < end; b++) sets_[b - a].resize(choices_[b].heights.size());
    due_.resize(size_t(count_));
    for (auto next = by_scratch_.begin(); next != by_scratch_.end();) {
      const int64_t scratch = option(*next).transient;
      if (around_ + scratch > limit_) break;
      bool any = false;
      for (; next != by_scratch_.end() && option(*next).transient == scratch; ++next) {
        if (next->first < a || next->first >= end || option(*next).least > limit_) continue;
        due_[size_t(next->first)].push_back(next->second);
        any = true;
      }
      if (any) extend(a, end, scratch);
    }
  }

  // The paths with at least one of the options that are due, which have `scratch` bytes of it, and others of less.
  void extend(int a, int end, int64_t scratch) {
    const int first_new = int(paths_.size());
    std::vector<std::vector<int>> fresh;  // by height: the new paths to the stage before
    for (int b = a; b < end; b++) {
      const Choices& now = choices_[b];
      const int64_t row = value(stages_[b].input).row_bytes();
      const bool reads = stages_[b].input == stages_[a].input || stages_[b].residual == stages_[a].input;
      const size_t made = paths_.size();
      auto add = [&](int o, const Path& path) {
        const int64_t own = b == a ? now.options[o].transient : scratch;
        if (around_ + path.bytes + own > limit_ || reached_[a].cost + path.cycles + rest_[b + 1] > bound_) return;
        if (reads) finish(a, b, own, path);  // its option decides how far it may slide
        insert(&sets_[b - a][now.options[o].height], path);
      };
      auto extend_by = [&](int o, const std::vector<std::vector<int>>& paths) {
        const Option& option = now.options[o];
        for (size_t h = 0; h < paths.size(); h++) {
          if (paths[h].empty()) continue;
          const int64_t more = aligned(now.rings[h * now.reads.size() + size_t(option.way())] * row) + option.kept;
          for (int p : paths[h]) add(o, {paths_[p].bytes + more, paths_[p].cycles + cycles(option), o, p});
        }
      };
      for (int o : due_[b]) {
        if (b == a)
          add(o, {now.options[o].kept, cycles(now.options[o]) + far_input(a), o, -1});
        else
          extend_by(o, sets_[b - a - 1]);
      }
      due_[b].clear();
      for (int o = 0; !fresh.empty() && o < int(now.options.size()); o++)
        if (now.options[o].transient < scratch && now.options[o].least <= limit_) extend_by(o, fresh);
      fresh.clear();
      if (paths_.size() == made) continue;
      fresh.resize(now.heights.size());
      for (size_t h = 0; h < fresh.size(); h++)
        for (int p : sets_[b - a][h]) {
          if (p < first_new) continue;
          fresh[h].push_back(p);
          if (!reads) finish(a, b, scratch, paths_[p]);
        }
    }
  }

  // Into a Pareto set in rising bytes and falling cycles, unless a path of it is as good.
  void insert(std::vector<int>* set, const Path& path) {
    auto at = std::lower_bound(set->begin(), set->end(), path.bytes,
                               [&](int p, int64_t bytes) { return paths_[p].bytes < bytes; });
    const bool equal = at != set->end() && paths_[*at].bytes == path.bytes;
    if ((equal && paths_[*at].cycles <= path.cycles) || (at != set->begin() && paths_[at[-1]].cycles <= path.cycles))
      return;
    auto beaten = at;
    while (beaten != set->end() && paths_[*beaten].cycles >= path.cycles) ++beaten;
    at = set->erase(at, beaten);
    set->insert(at, int(paths_.size()));
    paths_.push_back(path);
    if (set->size() > kPathsKept) set->erase(set->begin() + ptrdiff_t(kPathsKept / 2));
  }

  // Cycles to read the input of a segment from stage a on.
  double far_input(int a) const {
    const bool whole = producer_[stages_[a].input] >= 0;
    return whole && !at_any_cost_ ? far_cycles(value(stages_[a].input)) : 0;
  }

  // Cycles of the cheapest segment of stage a alone.
  double alone(int a) const {
    double least = INFINITY;
    const std::vector<Option>& options = choices_[a].options;
    const int64_t around = alive(a) + aligned(value(stages_[a].output).bytes()), most = most_overlap(a, a);
    for (int o = 0; o < int(options.size()); o++) {
      const int64_t bytes = around + options[o].kept + options[o].transient;
      if (options[o].cycles < least && bytes - most <= limit_ && (bytes <= limit_ || bytes - overlap(a, {o}) <= limit_))
        least = options[o].cycles;
    }
    return least + far_input(a) + far_cycles(value(stages_[a].output));
  }

  // The path is segment [a, b]. Kept is the cheapest that fits, or, at any cost, the smallest.
  void finish(int a, int b, int64_t scratch, const Path& path) {
    const int64_t most = most_overlap(a, b);
    int64_t bytes = around_ + path.bytes + scratch + aligned(value(stages_[b].output).bytes());
    Reached& best = reached_[size_t(b) + 1];
    const double cheapest = reached_[a].cost + path.cycles + far_cycles(value(stages_[b].output));
    auto cost = [&](int64_t all) { return at_any_cost_ ? std::max(reached_[a].cost, double(all)) : cheapest; };
    if (bytes - most > limit_ || cost(bytes - most) >= best.cost) return;
    std::vector<int> options(size_t(b - a + 1));
    options.back() = path.option;
    for (int s = b - a - 1, p = path.before; s >= 0; s--, p = paths_[p].before) options[s] = paths_[p].option;
    if (most && (at_any_cost_ || bytes > limit_)) bytes -= overlap(a, options);
    if (bytes > limit_ || cost(bytes) >= best.cost) return;
    best = {cost(bytes), a, std::move(options)};
    if (!at_any_cost_) bound_ = std::min(bound_, (best.cost + tail_[size_t(b) + 1]) * kRounding);
  }

  std::vector<Segment> path(std::vector<Stage>* stages) const {
    std::vector<Segment> segments;
    if (reached_[size_t(count_)].from < 0) return segments;
    for (int end = count_; end > 0; end = reached_[end].from) {
      const Reached& last = reached_[end];
      segments.insert(segments.begin(), Segment{last.from, end});
      for (int s = last.from; s < end; s++) {
        apply(choices_[s].options[last.options[s - last.from]].split, &(*stages)[s]);
        size_scratch(graph_, &(*stages)[s]);
      }
    }
    return segments;
  }

  const Graph& graph_;
  const std::vector<Stage> stages_;
  const int count_;
  const int64_t most_;
  const bool recompute_;
  std::vector<Choices> choices_;
  std::vector<std::pair<int, int>> by_scratch_;  // stage and option
  std::vector<int> producer_, last_use_, readers_;

  // Of the search that runs.
  int64_t limit_ = 0;
  bool at_any_cost_ = false;
  std::vector<Reached> reached_;     // by cut
  std::vector<double> rest_, tail_;  // by cut: no plan has fewer cycles after it; some plan has no more
  double bound_ = INFINITY;          // cycles of a plan that is known

  // Of the segments from one stage on.
  int64_t around_ = 0;
  std::vector<Path> paths_;
  std::vector<std::vector<std::vector<int>>> sets_;  // by stage and strip height: Pareto sets of paths
  std::vector<std::vector<int>> due_;                // by stage: options that are let in next
};

SegmentSearch::SegmentSearch(const Graph& graph, const std::vector<Stage>& stages, bool recompute, int64_t most)
    : impl_(new Impl(graph, stages, recompute, most)) {}

SegmentSearch::~SegmentSearch() = default;

std::vector<Segment> SegmentSearch::smallest(std::vector<Stage>* stages, int64_t* bytes) const {
  return impl_->smallest(stages, bytes);
}

std::vector<Segment> SegmentSearch::cheapest(int64_t limit, std::vector<Stage>* stages) const {
  return impl_->cheapest(limit, stages);
}

}  // namespace mbinfer
