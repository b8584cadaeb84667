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

int64_t aligned(int64_t bytes) { return round_up(bytes, kArenaAlign); }

// One way to run a stage: its strip height (an index) and configuration, and what that costs.
struct Option {
  int height;  // index into heights
  Stage stage;
  int64_t kept, transient;
  double cycles;
};

struct StageOptions {
  std::vector<int> heights;  // strip heights worth trying
  std::vector<Option> options;
};

// A way to run stages first .. of a segment, as a link to the way without its last stage.
struct Path {
  int64_t bytes;      // rings and kept rows
  int64_t transient;  // the largest of any stage
  double cycles;
  int option, before;  // of the last stage; index of the path without it, -1 at the first stage
};

struct Candidate {  // a whole segment
  int64_t bytes;
  double cycles;
  std::vector<int> options;
};

class Search {
 public:
  Search(const Graph& graph, const std::vector<Stage>& stages, int64_t limit)
      : graph_(graph), stages_(stages), count_(int(stages.size())), limit_(limit) {
    for (const Stage& s : stages_) options_.push_back(make_options(s));
    find_lifetimes();
  }

  std::vector<Segment> run(std::vector<Stage>* stages) {
    for (int a = 0; a < count_; a++) extend_from(a);
    return cheapest_path(stages);
  }

 private:
  const Value& value(int v) const { return graph_.values[v]; }

  // --- options of a stage -------------------------------------------------------------------------------------------

  StageOptions make_options(const Stage& stage) const {
    StageOptions all;
    const int height = value(stage.output).shape.height;
    for (int rows : {1, 2, 3, 4, 6, 7, 8, 14, 16, 28})
      if (rows < height) all.heights.push_back(rows);
    all.heights.push_back(height);
    for (int h = 0; h < int(all.heights.size()); h++) {
      Stage s = stage;
      s.rows = all.heights[h];
      const size_t first = all.options.size();
      for_each_split(s, [&](const Stage& split) {
        Option option{h, split, split.keep ? aligned(split.expanded_bytes) : 0, aligned(split.transient_bytes()), 0};
        if (limit_ && option.kept + option.transient > limit_) return;
        option.cycles = stage_cost(graph_, split).cycles;
        all.options.push_back(option);
      });
      prune(&all.options, first);
    }
    return all;
  }

  // Every chunk, step and choice of keeping that a strip height leaves.
  template <class Body>
  void for_each_split(Stage s, Body&& body) const {
    const int channels = expanded_channels(graph_, s);
    if (!s.bottleneck()) {
      s.chunk = 0;
      s.keep = false;
      s.step = s.rows;
      size_scratch(graph_, &s);
      return body(s);
    }
    const bool global = is_global(graph_, s);
    const int rows = global ? window_rows(graph_, s, 0, 1).end : s.rows;
    for (int step : {1, 2, 4, 7, 14}) {
      if (step > rows) break;
      int last = 0;
      for (int chunk : {8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 1 << 20}) {
        chunk = round_up(ceil_div(channels, ceil_div(channels, std::min(chunk, channels))), kPanel);
        if (chunk == last) continue;
        last = s.chunk = chunk;
        s.step = step;
        for (bool keep : {false, true}) {
          if (keep && (s.expand < 0 || global || s.rows >= value(s.output).shape.height)) continue;
          s.keep = keep;
          size_scratch(graph_, &s);
          body(s);
        }
      }
    }
  }

  // Leaves the options that no other one beats in bytes kept, bytes for the moment, and cycles.
  static void prune(std::vector<Option>* options, size_t first) {
    auto begin = options->begin() + ptrdiff_t(first);
    std::stable_sort(begin, options->end(), [](const Option& a, const Option& b) { return a.cycles < b.cycles; });
    std::vector<Option> best;
    for (auto o = begin; o != options->end(); ++o) {
      bool beaten = false;
      for (const Option& b : best) beaten = beaten || (b.kept <= o->kept && b.transient <= o->transient);
      if (!beaten) best.push_back(*o);
    }
    options->erase(begin, options->end());
    options->insert(options->end(), best.begin(), best.end());
  }

  // --- memory around a segment --------------------------------------------------------------------------------------

  void find_lifetimes() {
    producer_.assign(graph_.values.size(), -1);
    last_use_.assign(graph_.values.size(), -1);
    readers_.assign(graph_.values.size(), 0);
    for (int s = 0; s < count_; s++) {
      producer_[stages_[s].output] = s;
      for (int v : {stages_[s].input, stages_[s].residual}) {
        if (v < 0 || stages_[s].load >= 0 || (v == stages_[s].residual && v == stages_[s].input && readers_[v] && last_use_[v] == s)) continue;
        last_use_[v] = s;
        readers_[v]++;
      }
    }
    for (const GraphOutput& out : graph_.outputs) last_use_[out.value] = count_;
  }

  bool in_arena(int v) const { return v >= 0 && producer_[v] >= 0; }

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

  // Least distance of the segment's output below its input, by following the demand of each output strip to the input.
  int64_t slide_distance(int a, const std::vector<int>& chosen) const {
    auto stage = [&](int i) -> const Stage& { return options_[a + i].options[chosen[i]].stage; };
    const int last = int(chosen.size()) - 1;
    const Stage& final = stage(last);
    const int64_t out_row = value(final.output).row_bytes(), in_row = value(stage(0).input).row_bytes();
    const int height = value(final.output).shape.height;
    int64_t distance = 0;
    for (int r0 = 0; r0 < height; r0 += final.rows) {
      const int r1 = std::min(height, r0 + final.rows);
      int begin = r0, end = r1;  // the strip of stage i that this demand reaches last
      for (int i = last; i > 0; i--) {
        const int need = strip_rows(graph_, stage(i), begin, end).end, rows = stage(i - 1).rows;
        end = std::min(value(stage(i).input).shape.height, round_up(std::max(need, 1), rows));
        begin = (end - 1) / rows * rows;
      }
      const Stage& first = stage(0);
      const int first_height = value(first.output).shape.height;
      int floor = value(first.input).shape.height;
      if (last == 0) {
        floor = strip_rows(graph_, first, r0, r1).begin;
        if (first.residual == first.input) floor = std::min(floor, r0);
      } else if (end < first_height) {
        floor = strip_rows(graph_, first, end, std::min(first_height, end + first.rows)).begin;
        if (first.residual == first.input) floor = std::min(floor, end);
      }
      distance = std::max(distance, r1 * out_row - floor * in_row);
    }
    return aligned(distance);
  }

  // --- segments -----------------------------------------------------------------------------------------------------

  // Adds a path to a set ordered by bytes with falling cycles, unless it is beaten.
  static void add_path(std::vector<Path>* set, const Path& path) {
    for (const Path& p : *set)
      if (p.bytes <= path.bytes && p.cycles <= path.cycles) return;
    set->erase(std::remove_if(set->begin(), set->end(), [&](const Path& p) { return path.bytes <= p.bytes && path.cycles <= p.cycles; }), set->end());
    set->push_back(path);
  }

  void extend_from(int a) {
    segments_.emplace_back(size_t(count_));
    std::vector<int64_t> caps;
    for (int b = a; b < count_; b++) {
      for (const Option& o : options_[b].options) caps.push_back(o.transient);
      if (b + 1 < count_ && !linked(b)) break;
    }
    std::sort(caps.begin(), caps.end());
    caps.erase(std::unique(caps.begin(), caps.end()), caps.end());
    // The scratch that passes is shared by all stages of a segment: one search for each bound on it.
    std::vector<int64_t> tried;
    for (int64_t cap : caps)
      if (tried.empty() || double(cap) > 1.4 * double(tried.back())) tried.push_back(cap);
    if (!caps.empty() && tried.back() != caps.back()) tried.push_back(caps.back());
    const int64_t floor = alive(a);
    for (int64_t cap : tried)
      if (!limit_ || floor + cap <= limit_) extend(a, cap);
  }

  void extend(int a, int64_t cap) {
    const int64_t around = alive(a);
    // levels[i][h]: paths over stages a .. a + i whose last strip height is h
    std::vector<std::vector<std::vector<Path>>> levels;
    for (int b = a; b < count_; b++) {
      const StageOptions& now = options_[b];
      std::vector<std::vector<Path>> level(now.heights.size());
      for (int o = 0; o < int(now.options.size()); o++) {
        const Option& option = now.options[o];
        if (option.transient > cap) continue;
        if (b == a) {
          add_path(&level[option.height], {option.kept, option.transient, option.cycles, o, -1});
          continue;
        }
        const StageOptions& before = options_[b - 1];
        for (int h = 0; h < int(before.heights.size()); h++) {
          const std::vector<Path>& paths = levels.back()[h];
          if (paths.empty()) continue;
          const int rows = std::min(value(option.stage.input).shape.height, ring_rows(before.heights[h], option.stage));
          const int64_t ring = aligned(rows * value(option.stage.input).row_bytes());
          for (int p = 0; p < int(paths.size()); p++) {
            Path path{paths[p].bytes + ring + option.kept, std::max(paths[p].transient, option.transient), paths[p].cycles + option.cycles, o,
                      h << 16 | p};
            if (limit_ && around + path.bytes + path.transient > limit_) continue;
            add_path(&level[option.height], path);
          }
        }
      }
      levels.push_back(std::move(level));
      bool any = false;
      for (const std::vector<Path>& set : levels.back()) any = any || !set.empty();
      if (!any) return;
      finish(a, b, around, levels);
      if (b + 1 < count_ && !linked(b)) return;
    }
  }

  // The paths that end at b are segments [a, b].
  void finish(int a, int b, int64_t around, const std::vector<std::vector<std::vector<Path>>>& levels) {
    const int in = stages_[a].input, out = stages_[b].output;
    const int64_t in_bytes = aligned(value(in).bytes()), out_bytes = aligned(value(out).bytes());
    const bool slides = in_arena(in) && stages_[a].load < 0 && last_use_[in] == a;
    for (const std::vector<Path>& set : levels.back()) {
      for (const Path& end : set) {
        if (limit_ && around + end.bytes + end.transient + (slides ? std::max<int64_t>(0, out_bytes - in_bytes) : out_bytes) > limit_) continue;
        Candidate c{around + end.bytes + end.transient + out_bytes, end.cycles, std::vector<int>(size_t(b - a + 1))};
        const Path* path = &end;
        for (int i = b - a; i >= 0; i--) {
          c.options[i] = path->option;
          if (i) path = &levels[i - 1][path->before >> 16][path->before & 0xFFFF];
        }
        if (slides) c.bytes -= std::max<int64_t>(0, std::min(in_bytes, out_bytes - slide_distance(a, c.options)));
        if (limit_ && c.bytes > limit_) continue;
        keep_candidate(&segments_[a][b], std::move(c));
      }
    }
  }

  static void keep_candidate(std::vector<Candidate>* set, Candidate c) {
    for (const Candidate& o : *set)
      if (o.bytes <= c.bytes && o.cycles <= c.cycles) return;
    set->erase(std::remove_if(set->begin(), set->end(), [&](const Candidate& o) { return c.bytes <= o.bytes && c.cycles <= o.cycles; }), set->end());
    set->push_back(std::move(c));
  }

  // --- the network --------------------------------------------------------------------------------------------------

  std::vector<Segment> cheapest_path(std::vector<Stage>* stages) const {
    int64_t limit = limit_;
    if (!limit) {  // the least: the smallest over all paths of a path's largest segment
      std::vector<int64_t> most(size_t(count_) + 1, INT64_MAX);
      most[0] = 0;
      for (int a = 0; a < count_; a++)
        for (int b = a; b < count_; b++)
          for (const Candidate& c : segments_[a][b]) most[b + 1] = std::min(most[b + 1], std::max(most[a], c.bytes));
      limit = most[count_];
    }
    std::vector<double> cycles(size_t(count_) + 1, INFINITY);
    std::vector<std::pair<int, const Candidate*>> from(size_t(count_) + 1, {-1, nullptr});
    cycles[0] = 0;
    for (int a = 0; a < count_; a++)
      for (int b = a; b < count_; b++)
        for (const Candidate& c : segments_[a][b])
          if (c.bytes <= limit && cycles[a] + c.cycles < cycles[b + 1]) {
            cycles[b + 1] = cycles[a] + c.cycles;
            from[b + 1] = {a, &c};
          }
    std::vector<Segment> segments;
    if (!from[count_].second) return segments;
    for (int end = count_; end > 0; end = from[end].first) {
      const int a = from[end].first;
      segments.insert(segments.begin(), Segment{a, end});
      for (int s = a; s < end; s++) (*stages)[s] = options_[s].options[from[end].second->options[s - a]].stage;
    }
    return segments;
  }

  const Graph& graph_;
  const std::vector<Stage> stages_;
  const int count_;
  const int64_t limit_;
  std::vector<StageOptions> options_;
  std::vector<int> producer_, last_use_, readers_;
  std::vector<std::vector<std::vector<Candidate>>> segments_;
};

}  // namespace

std::vector<Segment> choose_segments(const Graph& graph, int64_t limit, std::vector<Stage>* stages) {
  return Search(graph, *stages, limit).run(stages);
}

}  // namespace mbinfer
