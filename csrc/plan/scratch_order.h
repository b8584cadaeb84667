// The order in which a search lets options in.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <vector>

#include "pages.h"
#include "plan/choices.h"

namespace mbinfer {

struct Choice {  // a stage's number, and that of one of its options
  uint16_t stage, option;
};

// Choices by rising scratch, then by stage and option: all that there are, and of these the ones that are usable.
class ScratchOrder {
 public:
  ScratchOrder(const Choices& choices, std::pmr::memory_resource* memory) : all_(memory) {
    size_t options = 0;
    for (size_t s = 0; s < choices.size(); s++) options += choices[s].options.size();
    PageVector<uint64_t> sorted;  // scratch, stage, option
    sorted.reserve(options);
    for (size_t s = 0; s < choices.size(); s++) {
      uint64_t o = 0;
      for (const Option& option : choices[s].options)
        sorted.push_back(uint64_t(option.transient_lines) << 32 | uint64_t(s) << 16 | o++);
    }
    std::sort(sorted.begin(), sorted.end());
    all_.reserve(options);
    for (uint64_t each : sorted) all_.push_back({uint16_t(each >> 16), uint16_t(each)});
  }

  // Of all of them.
  template <class IsUsable>
  void use(IsUsable&& is_usable) {
    usable_.clear();
    usable_.reserve(all_.size());
    for (size_t i = 0; i < all_.size(); i++)
      if (is_usable(all_[i])) usable_.push_back(uint16_t(i));
  }
  template <class IsDone>
  void drop(IsDone&& is_done) {
    const auto done = [&](uint16_t i) { return is_done(all_[i]); };
    usable_.erase(std::remove_if(usable_.begin(), usable_.end(), done), usable_.end());
  }

  size_t size() const { return usable_.size(); }
  Choice operator[](size_t i) const { return all_[usable_[i]]; }

 private:
  std::pmr::vector<Choice> all_;
  PageVector<uint16_t> usable_;  // by their places among all
};

}  // namespace mbinfer
