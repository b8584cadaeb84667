#include "exec/parts.h"

#include "exec/moves.h"
#include "exec/picks.h"
#include "exec/pixels.h"
#include "exec/windows.h"

namespace mbinfer {
namespace {

struct Maker {
  void (*make)(const Task&);
  int work_per_element;
};
// In the order of kOps.
constexpr Maker kMakers[] = {{conv, 1},
                             {depthwise, 1},
                             {add, 1},
                             {max_pool, 1},
                             {avg_pool, 1},
                             {global_avg_pool, 1},
                             {softmax, 64},
                             {convert, 1},
                             {lookup, 1},
                             {concat, 1},
                             {mul, 1},
                             {resize, 4},
                             {sub, 1},
                             {max, 1},
                             {min, 1},
                             {div, 8},
                             {slice, 1},
                             {shuffle, 4},
                             {depth_to_space, 1},
                             {argmax, 32},
                             {stack, 1},
                             {candidates, 4},
                             {nms, 64},
                             {norm, 8}};
static_assert(sizeof kMakers / sizeof kMakers[0] == kOpCount, "every operator has a function");

const Maker& maker_of(const Node& node) { return kMakers[int(node.op) - 1]; }

}  // namespace

void make_part(const Task& task) {
  maker_of(task.node).make(task);
  look_up_made(task);
}

void look_up_made(const Task& task) {
  const int table = (task.add ? task.add : &task.node)->table;
  if (table >= 0 && task.ends) look_up(task, task.out, task.graph.tables[table].numbers);
}

int work_per_element(const Node& node) { return maker_of(node).work_per_element; }

}  // namespace mbinfer
