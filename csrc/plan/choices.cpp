#include "plan/choices.h"

#include <algorithm>
#include <climits>

#include "plan/cost.h"
#include "plan/scratch.h"
#include "plan/stages.h"

namespace mbinfer {
namespace {

int64_t lines(int64_t bytes) { return ceil_div(bytes, kArenaAlign); }

class Maker {
 public:
  Maker(const Graph& graph, const Stage& stage, const StageChoices* before, const ChoiceRules& rules,
        std::pmr::memory_resource* memory, PageVector<Option>* room)
      : graph_(graph),
        stage_(stage),
        before_(before),
        rules_(rules),
        sizes_(graph, &stage_),
        cost_(graph, rules.costs, stage),
        height_(graph.values[stage.output].shape.height),
        unit_(ceil_div(height_, rules.strips)),
        pools_(!stage.expands() &&
               info_of(graph.nodes[stage.parts[stepping_part(stage)].node].op).area == Area::kWhole),
        room_(*room),
        all_(memory) {}

  StageChoices make() {
    all_.heights.reserve(std::size(kHeights) + 1);
    for (int rows : kHeights)
      if (tried(rows, kManyRows) && rows * unit_ < height_) all_.heights.push_back(rows * unit_);
    all_.heights.push_back(height_);
    find_reads();
    find_rings();
    PageVector<Option>& options = room_;
    options.clear();
    for (int h = 0; h < int(all_.heights.size()); h++) {
      stage_.rows = all_.heights[size_t(h)];
      const size_t first = options.size();
      add_options(h, &options);
      prune(&options, first);
    }
    thin_out(&options);
    mark_lean(&options);
    all_.options.assign(options.begin(), options.end());
    return std::move(all_);
  }

 private:
  // Many rows at a time are for maps of one column, whose rows are a kernel's pixels.
  bool tried(int rows, int many) const {
    return rows <= many ||
           (graph_.values[stage_.input].shape.width == 1 && graph_.values[stage_.output].shape.width == 1);
  }

  void find_reads() {
    Stage s = stage_;
    s.step = 1;
    s.chunk = 0;
    all_.reads.reserve(2 * all_.heights.size());
    for (int rows : all_.heights)
      for (bool keep : {false, true}) {
        s.rows = rows;
        s.keep = keep;
        all_.reads.emplace_back();
        std::pmr::vector<Rows>& reads = all_.reads.back();
        if (keep && pools_) {  // row by row
          reads.reserve(size_t(graph_.values[stage_.input].shape.height));
          for (int r = 0; r < graph_.values[stage_.input].shape.height; r++) reads.push_back({r, r + 1});
          continue;
        }
        reads.reserve(size_t(ceil_div(height_, rows)));
        for (int r0 = 0, end = 0; r0 < height_; r0 += rows) {
          const Rows read = strip_rows(graph_, s, r0, std::min(height_, r0 + rows));
          reads.push_back({read.begin, end = std::max(end, read.end)});
        }
      }
  }

  void find_rings() {
    if (before_) all_.rings.reserve(before_->heights.size() * all_.reads.size());
    for (size_t h = 0; before_ && h < before_->heights.size(); h++)
      for (size_t way = 0; way < all_.reads.size(); way++) all_.rings.push_back(ring_lines(before_->heights[h], way));
    all_.least_rings.reserve(all_.reads.size());
    for (size_t way = 0; way < all_.reads.size(); way++) {
      int32_t least = before_ ? INT_MAX : 0;
      for (size_t i = way; i < all_.rings.size(); i += all_.reads.size()) least = std::min(least, all_.rings[i]);
      all_.least_rings.push_back(least);
    }
  }

  // Lines of the ring between a producer with strips of `made` rows and this stage run in some way.
  int32_t ring_lines(int made, size_t way) const {
    const Value& in = graph_.values[stage_.input];
    const int in_height = in.shape.height, rows = all_.heights[way / 2];
    int most = 0, r0 = 0, end = 0;  // of the producer's last strip, were the map as high
    for (const Rows& read : all_.reads[way]) {
      while (end < read.end) end += made;
      const int produced = std::min(in_height, end);
      const int oldest = std::min(read.begin, std::max(0, end - made));  // of the strip made last, if not older
      most = std::max(most, produced - (stage_.residual == stage_.input ? std::min(oldest, r0) : oldest));
      r0 += rows;
    }
    return int32_t(std::min<int64_t>(INT_MAX, lines(most * in.row_bytes())));
  }

  // Every chunk, step and choice of keeping that a strip height leaves.
  void add_options(int h, PageVector<Option>* options) {
    Stage& s = stage_;
    const bool bottleneck = s.bottleneck();
    const int rows = stepped_rows(graph_, s, 0, s.rows).count();
    const int unit = std::max(unit_, ceil_div(stepped_rows(graph_, s, 0, height_).count(), rules_.strips));
    for (int steps : kStepRows) {
      const int step = steps * unit;
      if ((step > rows && steps > 1) || !tried(steps, kManySteps)) break;
      for (bool keep : {false, true}) {
        if (keep && !(pools_ ? step == 1 : s.expands() && s.rows < height_)) continue;
        s.step = bottleneck ? std::min(step, rows) : s.rows;
        s.keep = keep;
        s.chunk = 0;
        const StepCounts counts = count_steps(graph_, s);
        if (!rules_.recompute && s.expands() && counts.expanded_rows > expanded_height()) continue;
        add_chunks(h, counts, options);
      }
      if (!bottleneck) return;
    }
  }

  int expanded_height() const {
    return graph_.values[graph_.nodes[stage_.parts[stage_.split - 1].node].output].shape.height;
  }

  void add_chunks(int h, const StepCounts& counts, PageVector<Option>* options) {
    Stage& s = stage_;
    const int channels = expanded_channels(graph_, s);
    int last = 0;
    for (int chunk : kChunks) {
      if (s.bottleneck()) {
        s.chunk = round_up(ceil_div(channels, ceil_div(channels, std::min(chunk, channels))), kPanel);
        if (s.chunk == last || (s.keep && pools_ && s.chunk < channels)) continue;
        last = s.chunk;
      }
      sizes_.set();
      const int64_t kept = lines(s.kept_bytes()), transient = lines(s.transient_bytes());
      if ((kept + transient) * kArenaAlign <= rules_.most && kept + transient < INT_MAX)
        options->push_back({cost_.cycles(counts, s.chunk), int32_t(kept), int32_t(transient), s.step,
                            uint16_t(s.chunk / kPanel), uint8_t(h), s.keep, false});
      if (!s.bottleneck()) return;
    }
  }

  // Leaves the options that no other one beats in bytes kept, bytes for the moment, and cycles.
  void prune(PageVector<Option>* options, size_t first) const {
    std::stable_sort(options->begin() + ptrdiff_t(first), options->end(),
                     [](const Option& a, const Option& b) { return a.cycles < b.cycles; });
    size_t kept = first;
    for (size_t i = first; i < options->size(); i++) {
      const Option& o = (*options)[i];
      bool beaten = false;
      for (size_t j = first; j < kept && !beaten; j++)
        beaten = (*options)[j].kept_lines <= o.kept_lines && (*options)[j].transient_lines <= o.transient_lines &&
                 (!pools_ || (*options)[j].keep >= o.keep);
      if (!beaten) (*options)[kept++] = o;
    }
    options->resize(kept);
  }

  // Where a long network leaves few options to a stage: as many of each strip height, the fastest and the smallest too.
  void thin_out(PageVector<Option>* options) const {
    if (int(options->size()) <= rules_.options) return;
    const size_t each = std::max<size_t>(2, size_t(rules_.options) / all_.heights.size());
    PageVector<Option> left;
    for (size_t first = 0, end; first < options->size(); first = end) {
      for (end = first; end < options->size() && (*options)[end].height == (*options)[first].height;) end++;
      const size_t count = end - first;
      for (size_t i = 0; i < std::min(each, count); i++)
        left.push_back((*options)[first + (count <= each ? i : i * (count - 1) / (each - 1))]);
    }
    options->swap(left);
  }

  static void mark_lean(PageVector<Option>* options) {
    auto before = [](const Option& a, const Option& b) {  // a takes no more, and comes first where both take the same
      return a.kept_lines <= b.kept_lines && a.transient_lines <= b.transient_lines &&
             (&a < &b || a.kept_lines < b.kept_lines || a.transient_lines < b.transient_lines);
    };
    for (auto first = options->begin(), end = first; first != options->end(); first = end) {
      while (end != options->end() && end->height == first->height) ++end;
      for (auto o = first; o != end; ++o)
        o->lean = std::none_of(first, end, [&](const Option& a) { return a.keep == o->keep && before(a, *o); });
    }
  }

  const Graph& graph_;
  Stage stage_;
  const StageChoices* before_;
  const ChoiceRules& rules_;
  ScratchSizes sizes_;
  const StageCost cost_;
  const int height_;
  const int unit_;    // rows of the smallest strip and step
  const bool pools_;  // the whole map that it reads
  PageVector<Option>& room_;
  StageChoices all_;
};

}  // namespace

StageChoices make_choices(const Graph& graph, const Stage& stage, const StageChoices* before, const ChoiceRules& rules,
                          std::pmr::memory_resource* memory, PageVector<Option>* room) {
  return Maker(graph, stage, before, rules, memory, room).make();
}

}  // namespace mbinfer
