// What a model may hold: limits of counts, sizes and strings, and the rules of values and nodes by themselves.
// mbinfer/check.py has the same rules for graphs that are written; a test tries each on both.
#pragma once

#include "model/graph.h"

namespace mbinfer {

constexpr int kMaxSide = 1 << 16;          // of a value, and of its channels
constexpr int64_t kMaxElements = 1 << 28;  // of a value
constexpr int64_t kMaxStored = INT32_MAX;  // elements of a value, channels padded to panels
constexpr int64_t kMaxReads = 1 << 28;     // taps x channels that make one output: packed weights of a panel < 2^31
constexpr int64_t kMaxHalved = 1 << 11;    // numbers of a mean whose halves are rounded away from one
constexpr int kMaxBoxes = 1 << 16;         // that nms chooses from
constexpr int kMaxToldApart = 1 << 8;      // channels whose numbers a byte tells apart
constexpr int64_t kMaxMacs = int64_t(1) << 53;  // of the network
constexpr int64_t kMaxFraction = 1 << 26;       // of numbers that say positions
constexpr float kMaxFactor = float(1e30);       // of a step that is read, in steps of what is made
constexpr int kMaxWindowChannels = 64;          // of a norm that is not of all channels
constexpr int kNormFactors = 4;                 // factor, offset, exponent and least, see kernels.h
constexpr uint32_t kMaxValues = 1 << 16, kMaxNodes = 1 << 16, kMaxNodeInputs = 1 << 18;
constexpr uint32_t kMaxInputs = 256, kMaxOutputs = 4096, kMaxMetadata = 256, kMaxStates = 1024;
constexpr uint32_t kMaxName = 4095, kMaxText = 65535;  // bytes of a name, and of any other string
constexpr uint32_t kMaxStrings = 1 << 26;              // bytes of all strings

// Bytes of a well-formed UTF-8 text: no overlong form, no surrogate, nothing beyond U+10FFFF.
bool is_utf8(const char* text, size_t bytes);

// Each says what is wrong with it, or "".
std::string wrong_with_value(const Value& value);
std::string wrong_with_node(const Graph& graph, const Node& node);  // its values and numbers; not its weights
std::string wrong_with_recipe(const Value& value, const Recipe& recipe);

// Inputs of one output element: taps, and for each the channels that its panel reads.
int64_t reads(const Graph& graph, const Node& node);
// Numbers that the table or the weights of a node take in the file, packed.
int64_t packed_weights(const Graph& graph, const Node& node);

}  // namespace mbinfer
