// Dynamic programming twice over. Inside a segment, stages are added one by one; what the next stage must know of those
// before it is the strip height of the last one, because that alone decides how many rows the ring between them holds. For
// each strip height a Pareto set of (bytes, cycles) is kept. Over the network, segments are edges between cut points, and
// the plan is the cheapest path whose segments all fit the limit.
#include "plan/streamed.h"

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
constexpr size_t kPathsKept = 6;  // of a Pareto set: the ends and evenly between them
constexpr double kCapStep = 1.8;  // between the bounds tried on scratch
// Networks of so few stages are searched with every bound on scratch, and Pareto sets that are as good as whole.
constexpr int kExact = 6;
constexpr size_t kPathsKeptExact = 64;

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
  double cycles;
};

struct Choices {
  std::vector<int> heights;
  std::vector<Option> options;
  std::vector<int> rings;  // rows of the ring before the stage, by height of the producer, own height, keep
};

// A way to run stages first .. of a segment, as a link to the way without its last stage.
struct Path {
  int64_t bytes;      // rings and kept rows
  int64_t transient;  // the largest of any stage
  double cycles;
  int option, before_height, before;  // of the last stage; height and index of the path without it
};

struct Candidate {  // the best way found to run a whole segment
  int64_t bytes = INT64_MAX;
  double cycles = INFINITY;
  std::vector<int> options;
};

// Keeps the elements of a Pareto set in rising bytes and falling cycles, thinned to `most`.
template <class T>
void keep_best(std::vector<T>* set, size_t most) {
  std::sort(set->begin(), set->end(), [](const T& a, const T& b) { return a.bytes != b.bytes ? a.bytes < b.bytes : a.cycles < b.cycles; });
  size_t kept = 0;
  for (size_t i = 0; i < set->size(); i++)
    if (!kept || (*set)[i].cycles < (*set)[kept - 1].cycles) {
      if (kept != i) (*set)[kept] = std::move((*set)[i]);
      kept++;
    }
  if (kept > most) {
    for (size_t i = 0; i < most; i++) {
      const size_t from = i * (kept - 1) / (most - 1);
      if (from != i) (*set)[i] = std::move((*set)[from]);
    }
    kept = most;
  }
  set->erase(set->begin() + ptrdiff_t(kept), set->end());
}

class Searcher {
 public:
  Searcher(const Graph& graph, const std::vector<Stage>& stages, const Search& search)
      : graph_(graph), stages_(stages), count_(int(stages.size())), limit_(search.limit), recompute_(search.recompute),
        at_any_cost_(search.at_any_cost) {
    find_lifetimes();
    for (int s = 0; s < count_; s++) choices_.push_back(make_choices(s));
  }

  std::vector<Segment> run(std::vector<Stage>* stages) {
    for (int a = 0; a < count_; a++) extend_from(a);
    return cheapest_path(stages);
  }

  // The least over all paths of a path's largest segment.
  int64_t least() {
    for (int a = 0; a < count_; a++) extend_from(a);
    std::vector<int64_t> most(size_t(count_) + 1, INT64_MAX);
    most[0] = 0;
    for (int a = 0; a < count_; a++)
      for (int b = a; b < count_; b++)
        most[b + 1] = std::min(most[b + 1], std::max(most[a], segments_[a][b].bytes));
    return most[count_] == INT64_MAX ? -1 : most[count_];
  }

 private:
  const Value& value(int v) const { return graph_.values[v]; }

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
    for (int h = 0; h < int(all.heights.size()); h++) {
      s.rows = all.heights[h];
      const size_t first = all.options.size();
      add_options(s, h, &all.options);
      prune(&all.options, first);
    }
    if (index > 0 && linked(index - 1))
      for (int made : choices_[size_t(index) - 1].heights)
        for (int rows : all.heights)
          for (bool keep : {false, true}) {
            apply({rows, 1, 0, keep}, &s);
            all.rings.push_back(ring_rows(made, s));
          }
    return all;
  }

  // Every chunk, step and choice of keeping that a strip height leaves.
  void add_options(Stage s, int h, std::vector<Option>* options) const {
    const int channels = expanded_channels(graph_, s), height = value(s.output).shape.height;
    const bool global = is_global(graph_, s), bottleneck = s.bottleneck();
    const int rows = global ? window_rows(graph_, s, 0, 1).end : s.rows;
    for (int step : kSteps) {
      if (step > rows && step > 1) break;
      for (bool keep : {false, true}) {
        if (keep && (s.expand < 0 || global || s.rows >= height)) continue;
        s.step = bottleneck ? step : s.rows;
        s.keep = keep;
        s.chunk = 0;
        const StepCounts counts = count_steps(graph_, s);
        if (!recompute_ && s.expand >= 0 && counts.expanded_rows > value(graph_.nodes[s.expand].output).shape.height) continue;
        int last = 0;
        for (int chunk : kChunks) {
          if (bottleneck) {
            s.chunk = round_up(ceil_div(channels, ceil_div(channels, std::min(chunk, channels))), kPanel);
            if (s.chunk == last) continue;
            last = s.chunk;
          }
          size_scratch(graph_, &s);
          const Split split = {s.rows, s.step, s.chunk, s.keep};
          const Option option = {split, h, keep ? aligned(s.expanded_bytes) : 0, aligned(s.transient_bytes()),
                                 at_any_cost_ ? 0.0 : stage_cycles(graph_, s, counts)};
          if (option.kept + option.transient <= limit_) options->push_back(option);
          if (!bottleneck) return;
        }
      }
    }
  }

  // Leaves the options that no other one beats in bytes kept, bytes for the moment, and cycles.
  static void prune(std::vector<Option>* options, size_t first) {
    std::stable_sort(options->begin() + ptrdiff_t(first), options->end(), [](const Option& a, const Option& b) { return a.cycles < b.cycles; });
    size_t kept = first;
    for (size_t i = first; i < options->size(); i++) {
      bool beaten = false;
      for (size_t j = first; j < kept; j++)
        beaten = beaten || ((*options)[j].kept <= (*options)[i].kept && (*options)[j].transient <= (*options)[i].transient);
      if (!beaten) (*options)[kept++] = (*options)[i];
    }
    options->erase(options->begin() + ptrdiff_t(kept), options->end());
  }

  // Rows of the ring between a producer with strips of `made` rows and a stage.
  int ring_rows(int made, const Stage& s) const {
    const int height = value(s.output).shape.height, in_height = value(s.input).shape.height;
    int most = 0;
    for (int r0 = 0; r0 < height; r0 += s.rows) {
      const Rows rows = strip_rows(graph_, s, r0, std::min(height, r0 + s.rows));
      const int produced = std::min(in_height, round_up(rows.end, made));
      most = std::max(most, produced - (s.residual == s.input ? std::min(rows.begin, r0) : rows.begin));
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
        if (v < 0 || stage.load >= 0 || (readers_[v] && last_use_[v] == s)) continue;
        last_use_[v] = s;
        readers_[v]++;
      }
    }
    for (const GraphOutput& out : graph_.outputs) last_use_[out.value] = count_;
  }

  // Whether stage s + 1 may take the rows of stage s from a ring.
  bool linked(int s) const {
    const int v = stages_[s].output;
    return stages_[s + 1].input == v && stages_[s + 1].load < 0 && readers_[v] == 1 && last_use_[v] == s + 1;
  }

  // Bytes of the values alive while a segment from stage a on runs, beside its own output and rings; its input included.
  int64_t alive(int a) const {
    int64_t bytes = 0;
    for (size_t v = 0; v < producer_.size(); v++)
      if (producer_[v] >= 0 && producer_[v] < a && last_use_[v] >= a) bytes += aligned(graph_.values[v].bytes());
    return bytes;
  }

  // Least distance of the segment's output below its input, by following the demand of each output strip to the input; what
  // measure_segment() finds by running every strip.
  int64_t slide_distance(int a, const std::vector<int>& chosen) const {
    const int last = int(chosen.size()) - 1;
    std::vector<Stage> segment(stages_.begin() + a, stages_.begin() + a + last + 1);
    for (int i = 0; i <= last; i++) apply(choices_[size_t(a + i)].options[size_t(chosen[size_t(i)])].split, &segment[size_t(i)]);
    const Stage &first = segment.front(), &final = segment.back();
    const int in = first.input, height = value(final.output).shape.height, none = value(in).shape.height;
    const int64_t out_row = value(final.output).row_bytes(), in_row = value(in).row_bytes();
    // The oldest input row that a stage of which rows up to `made` exist reads in its next strip.
    auto oldest = [&](const Stage& s, int made) {
      const int rows = value(s.output).shape.height, end = std::min(rows, made + s.rows);
      int row = none;
      if (made < rows && s.input == in) row = std::min(row, strip_rows(graph_, s, made, end).begin);
      if (made < rows && s.residual == in) row = std::min(row, made);
      return row;
    };
    const bool global = is_global(graph_, final), done = final.expand >= 0 && graph_.nodes[final.expand].pointwise();
    int64_t distance = 0;
    for (int r0 = 0; r0 < height; r0 += final.rows) {
      const int r1 = std::min(height, r0 + final.rows);
      int later = oldest(final, r1);
      for (int i = last, begin = r0, end = r1; i > 0; i--) {  // the strip of stage i that this demand reaches last
        const int need = strip_rows(graph_, segment[i], begin, end).end, rows = segment[i - 1].rows;
        end = std::min(value(segment[i].input).shape.height, round_up(std::max(need, 1), rows));
        begin = (end - 1) / rows * rows;
        later = std::min(later, oldest(segment[i - 1], end));
      }
      if (final.input != in && final.residual != in) {
        distance = std::max(distance, r1 * out_row - later * in_row);
        continue;
      }
      // A stage that reads the input itself writes step by step, as measure_segment() has it.
      const int strip = final.input == in ? strip_rows(graph_, final, r0, r1).begin : none;
      for_each_step(graph_, final, r0, r1, chunk_count(graph_, final), [&](const Step& step) {
        int row = later;
        if (final.input == in) row = std::min(row, step.last_chunk ? done ? step.fresh.end : step.source.begin : strip);
        if (final.residual == in) row = std::min(row, step.last_chunk ? step.t0 : r0);
        distance = std::max(distance, (global ? r1 : step.t1) * out_row - row * in_row);
      });
    }
    return aligned(distance);
  }

  // --- segments -----------------------------------------------------------------------------------------------------

  void extend_from(int a) {
    segments_.emplace_back(size_t(count_));
    // The scratch that passes is shared by all stages of a segment: one search for each bound on it. Bounds worth trying
    // are the least that each stage can do with, keeping its expanded rows or not, and a few larger ones.
    std::vector<int64_t> caps, needed;
    for (int b = a; b < count_; b++) {
      int64_t least = INT64_MAX, least_kept = INT64_MAX;
      for (const Option& o : choices_[b].options) {
        caps.push_back(o.transient);
        int64_t& own = o.kept ? least_kept : least;
        own = std::min(own, o.transient);
      }
      needed.push_back(least);
      needed.push_back(least_kept);
      if (b + 1 < count_ && !linked(b)) break;
    }
    std::sort(needed.begin(), needed.end());
    std::sort(caps.begin(), caps.end());
    const int64_t room = limit_ - alive(a);
    int64_t tried = -1;
    for (size_t i = 0; i < caps.size() && caps[i] <= room; i++) {
      if (caps[i] == tried) continue;
      const bool last = i + 1 == caps.size() || caps[i + 1] > room, must = std::binary_search(needed.begin(), needed.end(), caps[i]);
      const bool exact = count_ <= kExact, near = !exact && double(caps[i]) < kCapStep * double(tried);
      if (!must && (at_any_cost_ || (!last && near))) continue;
      extend(a, caps[i], exact ? kPathsKeptExact : kPathsKept);
      tried = caps[i];
    }
  }

  // The options of stage b within a bound on scratch that no other one beats in bytes kept and cycles.
  std::vector<int> options_within(int b, int64_t cap) const {
    std::vector<int> within;
    const std::vector<Option>& options = choices_[b].options;
    for (int o = 0; o < int(options.size()); o++) {
      if (options[o].transient > cap) continue;
      bool beaten = false;
      for (int other : within)
        beaten = beaten || (options[other].height == options[o].height && options[other].kept <= options[o].kept && options[other].cycles <= options[o].cycles);
      if (!beaten) within.push_back(o);
    }
    return within;
  }

  void extend(int a, int64_t cap, size_t paths_kept) {
    const int64_t around = alive(a);
    std::vector<std::vector<std::vector<Path>>> levels;  // by stage from a on, by strip height
    for (int b = a; b < count_; b++) {
      const Choices& now = choices_[b];
      std::vector<std::vector<Path>> level(now.heights.size());
      for (std::vector<Path>& set : level) set.reserve(64);
      for (int o : options_within(b, cap)) {
        const Option& option = now.options[o];
        std::vector<Path>& set = level[option.height];
        if (b == a) {
          set.push_back({option.kept, option.transient, option.cycles, o, 0, -1});
          continue;
        }
        const int64_t row = value(stages_[b].input).row_bytes();
        for (int h = 0; h < int(levels.back().size()); h++) {
          const int rows = now.rings[(h * now.heights.size() + option.height) * 2 + option.split.keep];
          const int64_t more = aligned(rows * row) + option.kept;
          const std::vector<Path>& before = levels.back()[h];
          for (int p = 0; p < int(before.size()); p++) {
            const Path path = {before[p].bytes + more, std::max(before[p].transient, option.transient), before[p].cycles + option.cycles, o, h, p};
            if (around + path.bytes + path.transient <= limit_) set.push_back(path);
          }
        }
      }
      bool any = false;
      for (std::vector<Path>& set : level) {
        keep_best(&set, paths_kept);
        any = any || !set.empty();
      }
      if (!any) return;
      levels.push_back(std::move(level));
      finish(a, b, cap, levels);
      if (b + 1 < count_ && !linked(b)) return;
    }
  }

  // The paths that end at b are segments [a, b]. Kept is the cheapest that fits, or, at any cost, the smallest.
  void finish(int a, int b, int64_t cap, const std::vector<std::vector<std::vector<Path>>>& levels) {
    const int in = stages_[a].input;
    const int64_t in_bytes = aligned(value(in).bytes()), out_bytes = aligned(value(stages_[b].output).bytes()), around = alive(a);
    const bool may_slide = producer_[in] >= 0 && stages_[a].load < 0 && last_use_[in] <= b;
    Candidate& best = segments_[a][b];
    for (const std::vector<Path>& set : levels.back()) {
      for (const Path& end : set) {
        // The least is counted with the bound itself, so that a search with costs, whatever else it prefers, finds it too.
        int64_t bytes = around + end.bytes + (at_any_cost_ ? cap : end.transient) + out_bytes;
        const int64_t gain = may_slide ? std::min(in_bytes, out_bytes) : 0;
        if (bytes - gain > limit_ || (at_any_cost_ ? bytes - gain >= best.bytes : end.cycles >= best.cycles)) continue;
        std::vector<int> options(size_t(b - a + 1));
        const Path* path = &end;
        for (int i = b - a; i >= 0; i--) {
          options[i] = path->option;
          if (i) path = &levels[i - 1][path->before_height][path->before];
        }
        if (may_slide && (at_any_cost_ || bytes > limit_)) bytes -= std::max<int64_t>(0, std::min(gain, out_bytes - slide_distance(a, options)));
        if (bytes <= limit_ && (!at_any_cost_ || bytes < best.bytes)) best = {bytes, end.cycles, std::move(options)};
      }
    }
  }

  // --- the network --------------------------------------------------------------------------------------------------

  std::vector<Segment> cheapest_path(std::vector<Stage>* stages) const {
    std::vector<double> cycles(size_t(count_) + 1, INFINITY);
    std::vector<int> from(size_t(count_) + 1, -1);
    cycles[0] = 0;
    for (int a = 0; a < count_; a++)
      for (int b = a; b < count_; b++) {
        const double there = cycles[a] + segments_[a][b].cycles;
        if (there < cycles[b + 1]) cycles[b + 1] = there, from[b + 1] = a;
      }
    std::vector<Segment> segments;
    if (from[count_] < 0) return segments;
    for (int end = count_; end > 0; end = from[end]) {
      const int a = from[end];
      segments.insert(segments.begin(), Segment{a, end});
      for (int s = a; s < end; s++) {
        apply(choices_[s].options[segments_[a][end - 1].options[s - a]].split, &(*stages)[s]);
        size_scratch(graph_, &(*stages)[s]);
      }
    }
    return segments;
  }

  const Graph& graph_;
  const std::vector<Stage> stages_;
  const int count_;
  const int64_t limit_;
  const bool recompute_;
  const bool at_any_cost_;  // costs are all zero, so that a Pareto set is its least bytes
  std::vector<Choices> choices_;
  std::vector<int> producer_, last_use_, readers_;
  std::vector<std::vector<Candidate>> segments_;  // by first and last stage
};

}  // namespace

std::vector<Segment> choose_segments(const Graph& graph, const Search& search, std::vector<Stage>* stages) {
  return Searcher(graph, *stages, search).run(stages);
}

int64_t least_limit(const Graph& graph, const Search& search, const std::vector<Stage>& stages) {
  return Searcher(graph, stages, {search.limit, search.recompute, true}).least();
}

}  // namespace mbinfer
