#include "plan/views.h"

namespace mbinfer {
namespace {

// What a part makes, in rows of `channels` channels of a type.
View rows_of(const Value& made, const Type& type, int64_t base, int first, int rows, int channels) {
  View view;
  view.base = base;
  view.first = first;
  view.rows = rows;
  view.pixel_stride = channels * ptrdiff_t(size_of(type));
  view.row_stride = made.shape.width * view.pixel_stride;
  view.width = made.shape.width;
  return view;
}

const Value& made_by(const Graph& graph, const Stage& stage, int part) {
  return graph.values[graph.nodes[stage.parts[part].node].output];
}

// Where the chunk's channels begin in a value that has all of them.
int64_t chunk_begin(const Stage& stage, int chunk, const Value& value) {
  return int64_t(chunk) * stage.chunk * int64_t(size_of(value.type));
}

}  // namespace

View value_view(const Graph& graph, const Plan& plan, int value, int segment) {
  const Home& home = plan.values[value].home;
  const Value& v = graph.values[value];
  const int64_t base = plan.values[home.value].at(segment) + home.begin(v, 0);
  return rows_of(v, v.type, base, 0, plan.values[value].rows, home.stride_of(v));
}

Range made_panels(const Graph& graph, const Stage& stage, int part, int chunk) {
  const int panels = made_by(graph, stage, part).stride() / kPanel;
  if (!stage.chunk || !stage.in_chunks(part)) return {0, panels};
  const int begin = chunk * stage.chunk / kPanel;
  return {begin, std::min(panels, begin + stage.chunk / kPanel)};
}

Range read_channels(const Graph& graph, const Stage& stage, int part, int chunk) {
  const Node& node = graph.nodes[stage.parts[part].node];
  const int channels = graph.values[node.inputs[0]].shape.channels;
  if (!stage.chunk || part < stage.split) return {0, channels};
  const int begin = chunk * stage.chunk;
  return {begin, std::min(channels, begin + stage.chunk)};
}

View ring_view(const Graph& graph, const Stage& stage, int part, const Step& step) {
  const Value& made = made_by(graph, stage, part);
  const Scratch& ring = stage.parts[part].ring;
  if (part == stage.split - 1)
    return rows_of(made, made.type, ring.at(stage.keep ? step.chunk : 0), 0, ring.rows, stage.chunk);
  return rows_of(made, made.type, ring.offset, step.part[part].makes.begin, ring.rows, stage.chunk);
}

View input_view(const Graph& graph, const Plan& plan, int stage, int part, const Step& step, int segment) {
  const Stage& s = plan.stages[stage];
  if (part > 0) return ring_view(graph, s, part - 1, step);
  View view = value_view(graph, plan, s.input, segment);
  if (part == s.split) view.base += chunk_begin(s, step.chunk, graph.values[s.input]);
  return view;
}

View output_view(const Graph& graph, const Plan& plan, int stage, int part, const Step& step, int segment) {
  const Stage& s = plan.stages[stage];
  if (part < s.last()) return ring_view(graph, s, part, step);
  View view = value_view(graph, plan, s.output, segment);
  if (part == s.through) view.base += chunk_begin(s, step.chunk, graph.values[s.output]);
  return view;
}

View added_view(const Graph& graph, const Plan& plan, int stage, int part, const Step& step, int segment) {
  const Stage& s = plan.stages[stage];
  const int added = added_value(s, part);
  View view = value_view(graph, plan, added, segment);
  if (added == s.gate) view.base += chunk_begin(s, step.chunk, graph.values[added]);
  return view;
}

View sums_view(const Graph& graph, const Stage& stage, int part, const View& out) {
  const Scratch& sums = stage.parts[part].sums;
  if (!sums.bytes) return out;
  const Value& made = made_by(graph, stage, part);
  return rows_of(made, sums_of(made.type), sums.offset, 0, sums.rows,
                 stage.chunk && stage.in_chunks(part) ? stage.chunk : made.stride());
}

View patch_view(const Graph& graph, const Stage& stage, int part, Range columns, int copy) {
  const Value& made = made_by(graph, stage, part);
  const Scratch& patch = stage.parts[part].ring;
  View view;
  view.base = patch.at(copy);
  view.rows = patch.rows;
  view.pixel_stride = patch_channels(graph, stage) * ptrdiff_t(size_of(made.type));
  view.row_stride = patch.bytes / patch.copies / patch.rows;
  view.first_column = columns.begin;
  view.width = columns.count();
  return view;
}

}  // namespace mbinfer
