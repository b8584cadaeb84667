// The shadow of an arena: of all its bytes, what they hold and who touched them in the pass that runs.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "common.h"

namespace mbinfer {

constexpr int kNobody = -1, kSeveral = -2;  // in place of a piece of a pass: outside of passes; each of its pieces

struct What {  // is touched, in words that are put together where it is wrong
  const char* before;
  const char* name;
  const char* after;
  std::string text() const { return std::string(before) + name + after; }
};

class Shadow {
 public:
  // grain: bytes of a cell; what is touched is whole cells.
  Shadow(int64_t bytes, int64_t grain)
      : bytes_(bytes), grain_(grain), cells_(size_t(std::max<int64_t>(0, ceil_div(bytes, grain)))) {}

  int64_t grain() const { return grain_; }
  void next_pass() { pass_++; }

  const std::string& wrong() const { return wrong_; }  // the first thing that was; or ""
  void fail(const std::string& what) {
    if (wrong_.empty()) wrong_ = what;
  }

  // A piece writes what `tag` says there, or reads that. maker: of what lies with other values in one, whose tags count
  // the cells, the value; -1 of everything else.
  void touch(int64_t offset, int64_t bytes, int64_t tag, bool writes, int piece, const What& what, int maker = -1) {
    if (offset < 0 || offset + bytes > bytes_) return fail(what.text() + " lies outside the arena");
    for (int64_t g = offset / grain_; g * grain_ < offset + bytes; g++, tag += maker >= 0) {
      Cell& cell = cells_[size_t(g)];
      if (!writes && cell.owner != tag) return fail(what.text() + " was overwritten, or never made");
      if (writes && maker >= 0 && cell.owner == tag && cell.maker != maker)
        return fail(what.text() + " was made before, as another value");
      if (writes) cell.owner = tag, cell.maker = maker;
      if (!meet(&cell, writes, piece))
        return fail(what.text() + " is touched by two pieces of a pass, of which one writes");
    }
  }

 private:
  struct Cell {
    int64_t owner = -1;  // what it holds: a tag
    int maker = -1;      // of what lies with other values in one: the value
    int64_t pass = -1;   // the last pass that touched it, and who did then
    int writer = kNobody, reader = kNobody;
  };

  // False where another piece of the pass has touched the cell, and one of them writes.
  bool meet(Cell* cell, bool writes, int piece) {
    if (cell->pass != pass_) *cell = {cell->owner, cell->maker, pass_, kNobody, kNobody};
    if (piece == kNobody) return true;
    auto another = [&](int who) { return who != kNobody && (who != piece || piece == kSeveral); };
    if (another(cell->writer) || (writes && another(cell->reader))) return false;
    int& who = writes ? cell->writer : cell->reader;
    who = who == kNobody || who == piece ? piece : kSeveral;
    return true;
  }

  const int64_t bytes_, grain_;
  std::vector<Cell> cells_;
  int64_t pass_ = 0;
  std::string wrong_;
};

}  // namespace mbinfer
