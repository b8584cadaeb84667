#include "plan/slide.h"

#include <algorithm>

#include "plan/rows.h"

namespace mbinfer {
namespace {

int64_t aligned(int64_t bytes) { return round_up(bytes, kArenaAlign); }

}  // namespace

bool Slides::linked(int s) const {
  const int v = stages_[s].output;
  if (gathers(graph_.nodes[size_t(stages_[s + 1].parts[0].node)])) return false;
  return stages_[s + 1].input == v && life(v).readers == 1 && !life(v).shared && life(v).last_reader == first_ + s + 1;
}

int64_t Slides::most_overlap(int a, int b) const {
  if (!lives_.frees_input(stages_ + a, first_ + a, b - a + 1)) return 0;
  return std::min(lives_.bytes(stages_[a].input), made_bytes(b));
}

void Slides::most_overlaps(int a, int end, int64_t* bytes) const {
  const int dies = lives_.of(stages_[a].input).last_reader - first_;
  for (int b = a; b < end; b++) bytes[b] = b < dies ? 0 : most_overlap(a, b);
}

int64_t Slides::overlap(int a, const std::vector<int>& options, int64_t* spent) const {
  const int b = a + int(options.size()) - 1;
  return std::max<int64_t>(0, std::min(most_overlap(a, b), made_bytes(b) - distance(a, options, spent)));
}

int64_t Slides::bytes(int a, const std::vector<int>& options, int64_t* spent) const {
  int64_t lines = 0;
  int32_t scratch = 0;
  const Option* before = nullptr;
  for (size_t i = 0; i < options.size(); i++) {
    const StageChoices& now = choices_[size_t(a) + i];
    const Option& option = now.options[size_t(options[i])];
    if (before) lines += now.rings[size_t(before->height) * now.reads.size() + size_t(option.way())];
    lines += option.kept_lines;
    scratch = std::max(scratch, option.transient_lines);
    before = &option;
  }
  return (lines + scratch) * kArenaAlign + made_bytes(a + int(options.size()) - 1) - overlap(a, options, spent);
}

// Least distance of the segment's output below its input, by following the demand of each output strip to the input;
// what measure_segment() finds by running every strip.
int64_t Slides::distance(int a, const std::vector<int>& chosen, int64_t* spent) const {
  const int b = a + int(chosen.size()) - 1;
  const int in = stages_[a].input, none = value(in).shape.height, height = value(stages_[b].output).shape.height;
  auto option = [&](int s) -> const Option& { return choices_[s].options[size_t(chosen[size_t(s - a)])]; };
  auto reads = [&](int s) -> const std::pmr::vector<Rows>& { return choices_[s].reads[size_t(option(s).way())]; };
  auto rows = [&](int s) { return choices_[s].rows(option(s)); };
  // The oldest input row that a stage reads from a strip on.
  auto oldest = [&](int s, int strip) {
    int row = none;
    if (strip >= int(reads(s).size())) return row;
    if (stages_[s].input == in) row = std::min(row, reads(s)[size_t(strip)].begin);
    if (stages_[s].residual == in) row = std::min(row, added_rows(graph_, stages_[s], {strip * rows(s), height}).begin);
    return row;
  };
  auto row_by_row = [&](int s) { return option(s).keep && !stages_[s].expands(); };
  // The strip of a stage in which it makes a row of its output.
  auto strip_of = [&](int s, int row) { return row_by_row(s) ? int(reads(s).size()) - 1 : row / rows(s); };
  Stage final = stages_[b];
  *spent += int64_t(reads(b).size()) * (b - a + 1);
  apply(choices_[size_t(b)].split(option(b)), &final);
  int64_t distance = 0;
  const int strips = row_by_row(b) ? 1 : int(reads(b).size());  // its row is written from the first one on
  for (int strip = 0; strip < strips; strip++) {
    const int r0 = strip * final.rows, r1 = std::min(height, r0 + final.rows);
    int later = oldest(b, strip + 1);
    for (int s = b, at = strip; s > a; s--) {  // the strip of stage s that this demand reaches last
      at = strip_of(s - 1, std::max(reads(s)[size_t(at)].end, 1) - 1);
      later = std::min(later, oldest(s - 1, at + 1));
    }
    for_each_write(graph_, final, in, r0, r1, [&](int end, int row) {
      row = std::min(row, later);
      if (row < none) distance = std::max(distance, lives_.end(stages_[b].output, end) - lives_.begin(in, row));
    });
  }
  return aligned(distance);
}

}  // namespace mbinfer
