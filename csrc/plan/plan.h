// The plan: what runs, in which order, in which bytes of the arena, and what threads share out. The executor needs
// nothing else.
//
//   segment   stages run depth-first, row by row; its last stage's output is a whole value
//   stage     parts that hand rows to one another: [convert] -> [conv] -> [depthwise, pool, ...] -> [conv (+ add)]
//   strip     the rows that a stage makes at a time; chunk: the channels of the expanded tensor it holds at a time
//   pass      parts between two barriers, and the axis along which threads cut what they make
//
// A node on its own is a stage with one part, so layer-by-layer execution, the MobileNetV2 paper's fused block (Sandler
// et al. 2018, section 5) and streaming are three choices of stages and segments, not three programs.
#pragma once

#include <algorithm>
#include <climits>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/graph.h"
#include "plan/homes.h"

namespace mbinfer {

enum class Schedule { kNaive, kLayerwise, kFused, kStreamed, kAuto };
constexpr Schedule kSchedules[] = {Schedule::kNaive, Schedule::kLayerwise, Schedule::kFused, Schedule::kStreamed,
                                   Schedule::kAuto};
const char* schedule_name(Schedule schedule);
Schedule schedule_from_name(const std::string& name);  // Error(kArgument) lists the names

struct PlanOptions {
  Schedule schedule = Schedule::kAuto;
  int64_t memory_limit = -1;    // arena bytes; -1: none
  bool least = false;           // the smallest arena, at any cost
  double recompute = INFINITY;  // most multiply-adds done again, as a share of the network's; 0: none is done twice
  int threads = 1;
  int chunks = 0;   // 0: chosen; t: every bottleneck block is split t ways over its whole map, as in the paper
  std::string isa;  // whose kernels will run it: their costs
  int tile_pixels = 6, tile_panels = 2;  // of the matrix kernel that will run it
};

struct Scratch {  // rows that a part holds; none where `bytes` is 0
  Scratch() : Scratch(0, 0, 0, 1, false) {}
  Scratch(int64_t offset, int64_t bytes, int rows, int copies, bool patch)
      : offset(offset), copies(copies), bytes(bytes), rows(rows), patch(patch) {}
  int64_t offset : 49;
  int64_t copies : 15;  // of kept rows one for each chunk, of patches one for each thread
  int64_t bytes : 44;
  int64_t rows : 19;
  uint64_t patch : 1;  // what some pixels of the next part see, not whole rows
  int64_t at(int copy) const { return offset + bytes / copies * copy; }
};

static_assert(sizeof(Scratch) == 16, "thousands of them");

struct Part {  // a node of a stage
  int node = -1;
  int add = -1;  // an addition to what it makes, while that is made
  Scratch ring;  // where its rows wait for the next part; the last part's are the stage's output
  Scratch sums;  // what is summed up step by step; none: the output can hold it
};
constexpr int kMaxParts = 5;

// The parts of a stage: as many as it has. Most stages of a long network have one, which needs no memory of its own;
// several are in a block of the stage's, or in one that all stages of a list have together.
class Parts {
 public:
  Parts() : one_() {}
  Parts(const Parts& o) : Parts() { assign(o); }
  Parts(Parts&& o) noexcept : Parts() { take(&o); }
  ~Parts() { clear(); }
  Parts& operator=(Parts o) noexcept {
    clear();
    take(&o);
    return *this;
  }
  void push_back(const Part& part) {
    if (!size_) {
      one_ = part;
      size_ = 1;
      return;
    }
    const int size = size_ + 1;
    Part* more = new Part[size_t(size)];
    *std::copy(begin(), end(), more) = part;
    clear();
    many_ = more;
    size_ = size;
  }
  // Has several at the end of a list that outlives this, where that has room: it must not grow.
  void move_to(PageVector<Part>* list) {
    if (size_ < 2 || list->capacity() - list->size() < size_t(size_)) return;
    const int size = size_;
    Part* const end = list->data() + list->size();
    list->insert(list->end(), begin(), this->end());
    clear();
    many_ = end;
    size_ = size;
    listed_ = true;
  }
  Part& operator[](int p) { return data()[p]; }
  const Part& operator[](int p) const { return begin()[p]; }
  int size() const { return size_; }
  const Part* begin() const { return size_ > 1 ? many_ : &one_; }
  const Part* end() const { return begin() + size_; }

 private:
  Part* data() { return size_ > 1 ? many_ : &one_; }
  void assign(const Parts& o) {
    if (o.size_ > 1)
      std::copy(o.begin(), o.end(), many_ = new Part[size_t(o.size_)]);
    else
      one_ = o.one_;
    size_ = o.size_;
  }
  void take(Parts* o) {
    if (o->size_ > 1)
      many_ = o->many_;
    else
      one_ = o->one_;
    size_ = std::exchange(o->size_, 0);
    listed_ = std::exchange(o->listed_, false);
  }
  void clear() {
    if (size_ > 1 && !listed_) delete[] many_;
    size_ = 0;
    listed_ = false;
  }

  union {
    Part one_;
    Part* many_;
  };
  int size_ = 0;
  bool listed_ = false;  // whether many_ lies in a list
};

enum class Axis : uint8_t { kRows, kPixels, kPanels };  // of what a pass makes: rows, pixels row by row, or panels

struct Pass {
  Pass() : first(0), last(0) {}
  Pass(int first, int last, Axis axis, int grain)
      : first(uint8_t(first) & 15), last(uint8_t(last) & 15), axis(axis), grain(uint16_t(grain)) {}
  uint8_t first : 4, last : 4;  // parts [first, last): a thread makes its piece of each, without waiting for others
  Axis axis = Axis::kRows;
  uint16_t grain = 1;  // pieces are whole multiples of it
};

// Why the nodes around a stage were not fused into it; `about`: a value or a node.
enum class Apart : uint8_t { kNothing, kOutput, kReaders, kNeedsMore, kNotPointwise };

struct Stage {
  Parts parts;
  // In a block the part whose channels come chunk by chunk, as those of the part before it do; the part after it sums
  // them up. -1 in other stages.
  int16_t split = -1;
  int16_t through = -1;  // the last part that goes chunk by chunk: a pool, or a product, behind it
  int16_t again = 0;     // of its first parts, those that another stage runs too
  Apart why = Apart::kNothing;
  // Expanded rows stay from strip to strip; otherwise each strip expands its first rows again. Of a pool of the whole
  // map, which has one strip: it is made while rows are, and its sums stay.
  bool keep = false;
  uint8_t pass_count = 0;
  int16_t threads = 1;                         // that run it
  int input = -1, residual = -1, output = -1;  // values; residual: what is added
  int gate = -1;                               // a value of one pixel, by which a part multiplies
  int about = -1;                              // what `why` is about

  int rows = 0;   // strip: output rows at a time
  int chunk = 0;  // channels of the expanded tensor at a time; 0 where nothing is split
  int step = 0;   // within a strip, for each chunk: rows at a time (of the output; of the input under a global pool)

  Pass passes[kMaxParts];
  int64_t extra_macs = 0;  // multiply-adds that recomputation adds to those of its parts

  bool bottleneck() const { return split >= 0; }
  bool expands() const { return split > 0; }
  bool in_chunks(int part) const { return part >= split - 1 && part <= through; }
  bool sums_chunks() const { return bottleneck() && through < last(); }  // in its last part
  int part_count() const { return parts.size(); }
  int last() const { return parts.size() - 1; }
  // Pools its whole map, of which it takes the rows one by one, as they are made.
  bool row_by_row() const { return keep && !expands(); }
  // What is kept: expanded rows, or what a pool has summed up, where that is not its stage's output.
  Scratch& kept() {
    if (expands()) return parts[split - 1].ring;
    Part& pool = parts[bottleneck() ? split : last()];
    return pool.sums.bytes || !bottleneck() ? pool.sums : pool.ring;
  }
  const Scratch& kept() const { return const_cast<Stage*>(this)->kept(); }
  int64_t scratch_bytes() const {
    int64_t bytes = 0;
    for (const Part& part : parts) bytes += part.ring.bytes + part.sums.bytes;
    return bytes;
  }
  int64_t kept_bytes() const { return keep ? kept().bytes : 0; }
  int64_t transient_bytes() const { return scratch_bytes() - kept_bytes(); }
};

static_assert(sizeof(void*) > 8 || sizeof(Stage) <= 120, "thousands of them");

// The stages of a network. The parts of those that have several are one list: thousands of small blocks would lie
// between the lists of the planner in the C library's heap, which could not give anything back.
class Stages {
 public:
  Stages() = default;
  Stages(size_t stages, size_t parts) {  // there will be; parts: of stages that have several
    list_.reserve(stages);
    parts_.reserve(parts);
  }
  Stages(const Stages& o) : Stages(o.size(), o.parts_.size()) {
    for (const Stage& stage : o) add(stage);
  }
  Stages(Stages&&) noexcept = default;
  Stages& operator=(Stages o) noexcept {
    swap(o);
    return *this;
  }

  void add(Stage stage) {
    stage.parts.move_to(&parts_);
    list_.push_back(std::move(stage));
  }
  void swap(Stages& o) noexcept {
    list_.swap(o.list_);
    parts_.swap(o.parts_);
  }
  size_t size() const { return list_.size(); }
  const Stage* data() const { return list_.data(); }
  Stage& operator[](size_t s) { return list_[s]; }
  const Stage& operator[](size_t s) const { return list_[s]; }
  Stage* begin() { return list_.data(); }
  Stage* end() { return list_.data() + list_.size(); }
  const Stage* begin() const { return list_.data(); }
  const Stage* end() const { return list_.data() + list_.size(); }

 private:
  PageVector<Part> parts_;
  PageVector<Stage> list_;
};

struct Segment {
  int first = 0, last = 0;  // stages [first, last)
};

struct Placement {
  enum Kind { kAbsent, kExternal, kArena } kind = kAbsent;  // absent: inside a stage; external: the caller holds it
  int input = -1;                                           // of an external one: its number among the graph's inputs
  Home home;                                                // whose pixels hold it, and where among them
  int rows = 0;                                             // fewer than the value's height: a ring
  // A value that slid down over another one may be moved before segment `moved_before`, its last reader, so that the
  // next one has room to slide over it.
  int moved_before = INT_MAX;
  int64_t offset = 0, moved_offset = 0;
  int64_t at(int segment) const { return segment < moved_before ? offset : moved_offset; }
};

// A range of the arena in use from segment `first` to segment `last`, both included.
struct Buffer {
  enum Kind : uint8_t { kValue, kRing, kExpanded, kScratch };
  Buffer(Kind kind, int index, int64_t bytes, int first, int last)
      : offset(0), bytes(bytes), last(last), index(index), first(first), kind(kind) {}
  int64_t offset;
  int64_t bytes : 44;
  int last : 20;
  int index;  // kValue, kRing: value; kExpanded (kept rows): stage; kScratch: segment
  int first : 24;
  Kind kind;
};

static_assert(sizeof(Buffer) == 24, "thousands of them");

struct Plan {
  Schedule schedule = Schedule::kFused;
  Stages stages;
  PageVector<Segment> segments;
  PageVector<Placement> values;  // by value of the graph
  PageVector<Buffer> buffers;
  std::vector<int> state_order;  // the graph's states, as they become what the next run reads, one after the other

  int64_t peak_bytes = 0;         // the arena
  int64_t lower_bound_bytes = 0;  // no order and no placement of these stages needs less
  int64_t naive_bytes = 0, layerwise_bytes = 0, fused_bytes = 0;
  int64_t input_bytes = 0;      // what the caller holds: whole images
  std::vector<int> input_rows;  // by graph input: rows to be held when rows are pulled one by one
  int64_t macs = 0, extra_macs = 0;
  std::vector<int> moved;   // values that change their place
  int64_t moved_bytes = 0;  // of them
  int64_t state_bytes = 0;  // of values that outlive a run
  double cycles = 0;        // by the cost model
  unsigned shortcuts = 0;   // of Shortcut: where planning stopped short of all that could be looked at
  int64_t work = 0;         // steps that planning took
};

// Error(kMemoryLimit) names the least that would do; Error(kUnsupported) a node that cannot run.
Plan make_plan(const Graph& graph, const PlanOptions& options);

constexpr int kMaxKernel = 64;       // rows of a kernel or pool window; a global pool has no such bound
constexpr int64_t kArenaAlign = 64;  // of every buffer: a cache line, and the widest vector

}  // namespace mbinfer
