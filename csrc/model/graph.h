// The graph IR: values and the primitive nodes between them. Made by the reader, read by the planner and the executor.
// Weights are pointers into the model's bytes, names into the graph's strings.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <forward_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common.h"
#include "model/indices.h"
#include "model/ops.h"
#include "pages.h"

namespace mbinfer {

enum class Activation : uint8_t {
  kNone,
  kClamp,
  kHardSwish,
  kSigmoid,
  kSilu,
  kTanh,
  kGelu,
  kGeluTanh,
  kPrelu,
  kElu,
  kExp,
  kLog,
  kRoot,
  kReciprocal,
  kSoftplus,
  kMish
};
constexpr bool has_slopes(Activation a) { return a == Activation::kPrelu || a == Activation::kElu; }

struct Position {  // of an output in the input: whole + rest / denominator
  int64_t whole, rest;
};

struct Window {  // the taps of a convolution or pool over one axis
  uint16_t kernel = 1, stride = 1, dilation = 1, pad = 0, pad_end = 0;
  // Of a scaled one: output o begins at floor((o * numerator + term) / denominator), its taps cut to the input. 0:
  // none.
  int32_t numerator = 0, denominator = 0, term = 0;
  Position position(int o) const;
  bool operator==(const Window& o) const {
    return kernel == o.kernel && stride == o.stride && dilation == o.dilation && pad == o.pad && pad_end == o.pad_end &&
           numerator == o.numerator && denominator == o.denominator && term == o.term;
  }
  int extent() const { return dilation * (kernel - 1) + 1; }
  int output_size(int input) const { return (input + pad + pad_end - extent()) / stride + 1; }
  // Input positions that outputs [o0, o1) read, cut to [0, input); begin == end when they see padding only.
  std::pair<int, int> input_range(int o0, int o1, int input) const {  // asked for thousands of times by a search
    if (o0 >= o1) return {0, 0};
    if (denominator) return scaled_range(o0, o1, input);
    const int begin = std::max(0, o0 * stride - pad), end = std::min(input, (o1 - 1) * stride - pad + extent());
    return begin < end ? std::make_pair(begin, end) : std::make_pair(0, 0);
  }
  std::pair<int, int> scaled_range(int o0, int o1, int input) const;
};

// A string that the graph keeps, or a literal: names and labels are stored once, however many records have them.
class Text {
 public:
  Text(const char* text = "") : text_(text) {}
  const char* c_str() const { return text_; }
  operator std::string() const { return text_; }
  friend std::string operator+(const std::string& a, Text b) { return a + b.text_; }
  friend std::string operator+(const char* a, Text b) { return a + std::string(b.text_); }
  friend std::string operator+(Text a, const char* b) { return std::string(a.text_) + b; }

 private:
  const char* text_;
};

struct Value {
  Text name;
  Shape shape;
  Type type;
  int producer = -1;       // node, -1 for a graph input and a state
  bool is_output = false;  // read after all nodes: by the caller, or as what a state becomes
  bool is_state = false;   // read as an earlier run left it
  Indices consumers;       // nodes, each once
  int stride() const { return round_up(shape.channels, kPanel); }  // elements from one pixel to the next
  int64_t pixel_bytes() const { return stride() * int64_t(size_of(type)); }
  int64_t row_bytes() const { return shape.width * pixel_bytes(); }
  int64_t bytes() const { return row_bytes() * shape.height; }
  bool held_by_caller() const { return producer < 0 && !is_state; }
};

static_assert(sizeof(void*) > 8 || sizeof(Value) <= 56, "thousands of them");

struct Boxes {  // of kCandidates; overlap of kNms
  float least_score = 0, overlap = 0, scale[4] = {};
};

struct Table {  // of 256 numbers, for those of type `made`
  const uint8_t* numbers;
  Type made;
};

struct Node {  // a file of 1 MB has six thousand: fields lie so that few bytes are lost between them
  Text name;
  Indices inputs;  // values
  const void* weights = nullptr;
  const void* bias = nullptr;     // for each panel
  const float* slopes = nullptr;  // for each output channel
  Window y, x;
  int output = -1;
  int groups = 1;         // of kShuffle, too
  int first_channel = 0;  // kSlice; of kCandidates, the first class that counts
  int boxes = -1;         // kCandidates, kNms: in Graph::boxes
  int table = -1;         // in Graph::tables, of uint8: what it makes is looked up there, in place of a curve
  // What its output is clamped to: real numbers, or steps from a uint8's zero point.
  float lo = -INFINITY, hi = INFINITY;
  uint8_t window_channels = 0;  // kNorm: 0: all
  bool counts_padding : 1;      // kAvgPool
  bool full_range : 1;          // kConv: int8 weights may be -128
  bool softmax : 1;             // kCandidates: scores become probabilities of each anchor's classes
  bool halves_even : 1;         // of means: to even numbers as counted from `halves_from`, and not away from it
  bool logarithm : 1;           // kSoftmax
  bool centred : 1;             // kNorm
  bool anchorwise : 1;          // kCandidates: one box an anchor, as decoded; kNms: classes do not matter
  int16_t halves_from = -1;     // means, resizes of uint8: the number that halves are rounded away from; -1: to even
  int64_t weight_bytes : 40;
  Op op = Op::kConv;
  Activation activation = Activation::kNone;
  DType weight_dtype = DType::kNone;

  Node()
      : counts_padding(false),
        full_range(false),
        softmax(false),
        halves_even(false),
        logarithm(false),
        centred(false),
        anchorwise(false),
        weight_bytes(0) {}

  // Makes its outputs of all channels of their group, by products with weights.
  bool mixes_channels() const { return info_of(op).weights && !info_of(op).keeps_channels; }

  // Inputs that a row of weights meets: int8 sums are made of four products at a time.
  int row_inputs() const { return weight_dtype == DType::kInt8 && mixes_channels() ? 4 : 1; }

  bool pointwise() const {  // 1x1, stride 1, no padding: reads one pixel to make one
    return mixes_channels() && groups == 1 && y.kernel == 1 && x.kernel == 1 && y.stride == 1 && x.stride == 1 &&
           !y.pad && !y.pad_end && !x.pad && !x.pad_end;
  }
};

static_assert(sizeof(void*) > 8 || sizeof(Node) <= 136, "thousands of them");

// Which input channels the panels of a grouped convolution read: panel p reads [first(p), first(p) + count).
struct PanelChannels {
  int inputs, outputs, groups, count;
  PanelChannels(int inputs, int outputs, int groups);
  int first(int panel) const;
};

constexpr int kBoxNumbers = 6;  // y0, x0, y1, x1, score, class

struct Recipe {  // x = (u8 - mean) * scale
  bool present = false;
  int color = 0;
  float crop = 1, mean[4] = {}, scale[4] = {};
  // scale / that of the bytes that conversions make, where a multiplication by it makes the same of all 256 numbers.
  bool has_factor = false;
  float factor[4] = {};
};

struct GraphInput {
  int value;  // as the caller holds it: channels without padding, of uint8 where there is a recipe
  Recipe recipe;
};

struct GraphOutput {
  int value;
  Text name;
  std::vector<int64_t> shape;
};

// A value that outlives a run. After a run it becomes what that run left in `next`, a value of the same type and shape
// that a node makes; the following run reads it.
struct State {
  int value, next;
  const void* initial;  // its first content, height * width * channels numbers; null: zeros, of bytes their zero point
};

struct Graph {
  PageVector<Value> values;
  PageVector<Node> nodes;  // in an order that can run
  std::vector<GraphInput> inputs;
  std::vector<GraphOutput> outputs;
  std::vector<State> states;
  std::vector<Boxes> boxes;
  std::vector<Table> tables;
  std::vector<Text> labels;
  std::vector<std::pair<Text, Text>> metadata;
  int64_t weight_bytes = 0;  // of all tensors together; nodes may share them

  Text keep(std::string text);  // stores a string for as long as the graph, or a copy of it, lives

 private:
  std::shared_ptr<std::forward_list<std::string>> strings_;
};

// Whether a node's window takes a map of one column to another: its rows are to the window what pixels of a row are.
inline bool is_column(const Graph& graph, const Node& node) {
  return graph.values[node.inputs[0]].shape.width == 1 && graph.values[node.output].shape.width == 1 &&
         node.x.kernel == 1 && !node.x.pad && !node.x.pad_end && !node.x.denominator;
}

// Makes a graph one that is planned. A concatenation of many values becomes several of two, unless they are so many
// that it is only ever a place; no value is stacked twice. A table that alone reads what a node makes is that node's
// activation. Conversions come behind inputs. Convolutions of floats take pixels of any size one element at a time:
// they read an input in place, and one with a recipe from a conversion of their own, of which they hold a patch at a
// time; so do those of int8, which take four channels at a time. Where something else reads the input, or very many
// convolutions do, one conversion makes a whole value of it. A conversion of the model reads what the caller holds.
void prepare(Graph* graph);

// Multiply-adds of the whole node; bytes of its bias, and of that of a panel.
int64_t macs(const Graph& graph, const Node& node);
int64_t bias_bytes(const Graph& graph, const Node& node);
int64_t bias_panel_bytes(const Node& node);

}  // namespace mbinfer
