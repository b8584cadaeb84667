#include "plan/again.h"

#include <algorithm>
#include <functional>
#include <map>

#include "plan/stages.h"

namespace mbinfer {
namespace {

// Multiply-adds that are done again where what node n makes is not held; 0 where it has to be.
double done_again(const Graph& graph, int n) {
  const Node& node = graph.nodes[size_t(n)];
  const double once = double(macs(graph, node));
  if (read_by_filters(graph, n)) return once * double(graph.values[node.output].consumers.size() - 1);
  if (gated_block(graph, n).product < 0) return 0;
  const int before = graph.values[node.inputs[0]].producer;
  return once + (before < 0 ? 0 : double(macs(graph, graph.nodes[size_t(before)])));
}

}  // namespace

std::vector<int64_t> held_sizes(const Graph& graph, const PlanOptions& options) {
  std::map<int64_t, double, std::greater<int64_t>> again;  // by bytes: multiply-adds
  double all = 0;
  for (int n = 0; n < int(graph.nodes.size()); n++) {
    all += double(macs(graph, graph.nodes[size_t(n)]));
    const double more = done_again(graph, n);
    if (more > 0) again[graph.values[graph.nodes[size_t(n)].output].bytes()] += more;
  }
  std::vector<int64_t> sizes, tried;
  double sum = 0;
  for (const auto& [bytes, macs] : again)
    if ((sum += macs) <= options.recompute * all) sizes.push_back(bytes);
  for (size_t i = 0; i < sizes.size(); i = 2 * i + 1) tried.push_back(sizes[i]);
  if (!sizes.empty() && tried.back() != sizes.back()) tried.push_back(sizes.back());
  return tried;
}

}  // namespace mbinfer
