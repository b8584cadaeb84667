// Breadth-first over the sets of stages already run: two orders of the same set leave the same values alive, so only
// the better one is kept. A stage that frees no less than it makes, and needs no more than was or will be needed
// anyway, is run at once: in any order it could be moved to the front. So is the first of a chain that ends like that.
// What is left to choose is little in the networks of this class; where it is not, the sets kept on a level are as many
// as the work allows, and at the end the stages follow in the graph's order. Of orders that need the same, the one in
// which least waits is taken: what is made late and read at once can be streamed from one stage to the next.
#include "plan/order.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

#include "pages.h"
#include "plan/lives.h"
#include "plan/order_sets.h"

namespace mbinfer {
namespace {

class OrderSearch {
 public:
  OrderSearch(const Graph& graph, const Stages& stages, const Homes& homes, const PageVector<StageScratch>& scratch,
              Work* work)
      : graph_(graph),
        stages_(stages),
        scratch_(scratch),
        work_(*work),
        spent_before_(work->spent),
        homes_(homes),
        lives_(graph, stages, homes),
        count_(int(stages.size())),
        words_(size_t(ceil_div(count_, 64))) {
    index(&makers_, [&](int s, auto&& add) { add(stages_[s].output); });
    index(&readers_, [&](int s, auto&& add) { for_each_room(stages_[s], add); });
    unavoidable_ = 0;
    for (int s = 0; s < count_; s++) {
      const int out = stages_[s].output;
      int64_t own = lives_.bytes(out) + std::min(scratch_[s].beside, scratch_[s].over_input);
      for_each_room(stages_[s], [&](int v) { own += in_arena(v) && v != lives_.home(out) ? lives_.bytes(v) : 0; });
      unavoidable_ = std::max(unavoidable_, own);
    }
  }

  PageVector<int> run() {
    bool complete = true;
    OrderLevel level(words_), next(words_);
    begin(&level);
    int made = 0;
    for (; made < count_; made++) {
      int width = 0;
      for (const OrderSet& set : level.sets) width = std::max(width, set.ready_count);
      const int most = sets_allowed(made, size_t(width));
      if (most <= 0) break;
      advance(level, &next);
      if (int(next.sets.size()) > most) {
        complete = false;
        keep_best(&next.sets, most);
      }
      for (OrderSet& set : next.sets) {
        links_.push_back({set.parent, set.stage});
        set.parent = int(links_.size()) - 1;
      }
      std::swap(level, next);
    }
    const OrderSet& best = *std::min_element(level.sets.begin(), level.sets.end(), less_memory);
    PageVector<int> order;
    order.reserve(size_t(count_));
    for (int at = best.parent; at >= 0; at = links_[size_t(at)].before) order.push_back(links_[size_t(at)].stage);
    std::reverse(order.begin(), order.end());
    if (made < count_) finish(level.done_of(best), &order);
    if (complete && made == count_) return order;
    work_.shortcuts |= kOrderShortcut;
    links_ = {};
    PageVector<int> given;
    given.reserve(size_t(count_));
    const std::vector<uint64_t> none(words_, 0);
    finish(none.data(), &given);
    return peak_of(given) < peak_of(order) ? given : order;
  }

 private:
  struct Link {
    int before, stage;
  };
  struct Change {  // what running a stage does to the bytes alive, and needs for the moment beside those before it
    int64_t delta, need;
  };

  static bool less_memory(const OrderSet& a, const OrderSet& b) {
    return std::tie(a.peak, a.live, a.waiting) < std::tie(b.peak, b.live, b.waiting);
  }

  bool in_arena(int v) const { return lives_.of(v).maker >= 0; }

  // The stages that do something with each value that has memory of its own, and with those that lie in it.
  struct Index {
    PageVector<int> first, stages;
    const int* begin(int home) const { return stages.data() + first[size_t(home)]; }
    const int* end(int home) const { return stages.data() + first[size_t(home) + 1]; }
  };

  template <class Each>
  void index(Index* index, Each&& each) const {
    index->first.assign(graph_.values.size() + 1, 0);
    for (int s = 0; s < count_; s++) each(s, [&](int v) { index->first[size_t(lives_.home(v)) + 1]++; });
    std::partial_sum(index->first.begin(), index->first.end(), index->first.begin());
    index->stages.resize(size_t(index->first.back()));
    PageVector<int> next(index->first.begin(), index->first.end() - 1);
    for (int s = 0; s < count_; s++) each(s, [&](int v) { index->stages[size_t(next[size_t(lives_.home(v))]++)] = s; });
  }

  // Calls read(v) once for each value with memory of its own in which a stage reads.
  template <class Read>
  void for_each_room(const Stage& stage, Read&& read) const {
    const Node& node = graph_.nodes[size_t(stage.parts[0].node)];
    if (gathers(node)) return for_each_gathered(node, read);
    const int first = lives_.home(stage.input);
    read(first);
    const int added = stage.residual >= 0 ? lives_.home(stage.residual) : first;
    if (added != first) read(added);
    const int gate = stage.gate >= 0 ? lives_.home(stage.gate) : first;
    if (gate != first && gate != added) read(gate);
  }

  template <class Read>
  void for_each_gathered(const Node& node, Read&& read) const {
    seen_.resize(graph_.values.size(), 0);
    gathered_++;
    for (int v : node.inputs)
      if (std::exchange(seen_[size_t(lives_.home(v))], gathered_) != gathered_) read(lives_.home(v));
  }

  // A stage of those that make value v which has not run, or -1.
  int missing(Done done, int v) const {
    const int home = lives_.home(v);
    for (const int* m = makers_.begin(home); m != makers_.end(home); ++m)
      if (!has(done, *m) && homes_.overlap(graph_, v, stages_[*m].output)) return *m;
    return -1;
  }

  bool is_ready(Done done, int s) const {
    bool ready = true;
    for_each_read(graph_, stages_[s], [&](int v) { ready = ready && missing(done, v) < 0; });
    return ready;
  }

  // Whether stage s is the last one to read in the memory of v.
  bool frees(Done done, int s, int v) {
    if (!in_arena(v) || lives_.of(v).last_reader == kCaller) return false;
    for (const int* r = readers_.begin(v); r != readers_.end(v); ++r) {
      spent_++;
      if (*r != s && !has(done, *r)) return false;
    }
    return true;
  }

  // Whether nothing of the memory that stage s writes to was made before.
  bool begins(Done done, int s) const {
    const int home = lives_.home(stages_[s].output);
    if (lives_.of(home).maker == kLastRun) return false;
    return std::none_of(makers_.begin(home), makers_.end(home), [&](int m) { return has(done, m); });
  }

  Change change(Done done, int s) {
    int64_t freed = 0;
    bool over_input = false;
    for_each_room(stages_[s], [&](int v) {
      if (!frees(done, s, v)) return;
      freed += lives_.bytes(v);
      over_input = over_input || v == lives_.home(stages_[s].input);
    });
    const int64_t out = begins(done, s) ? lives_.bytes(stages_[s].output) : 0, beside = scratch_[s].beside;
    return {out - freed, out + (over_input && out ? std::min(beside, scratch_[s].over_input) : beside)};
  }

  // Whether stage s, or a chain that begins with it, frees what it makes within the memory that is needed anyway.
  bool is_free(const OrderSet& set, Done done, int s) {
    const int64_t most = std::max(set.peak, unavoidable_);
    Change now = change(done, s);
    int64_t live = set.live;
    for (int i = 0; i < kOrderLookAhead; i++) {
      spent_++;
      if (live + now.need > most) return false;
      live += now.delta;
      if (live <= set.live) return true;
      const int v = stages_[s].output;
      const Life& life = lives_.of(v);
      if (life.readers != 1 || life.shared || life.last_reader == kCaller) return false;
      s = life.last_reader;
      bool alone = true;  // what it reads beside the chain's value is there
      for_each_read(graph_, stages_[s], [&](int u) { alone = alone && (u == v || missing(done, u) < 0); });
      if (!alone) return false;
      now = change(done, s);
    }
    return false;
  }

  // How many sets the work that is left allows on this level, if `width` stages are ready in each; 0: not even one.
  int sets_allowed(int level, size_t width) const {
    const int64_t left = count_ - level, each = int64_t(width) * int64_t(width + 8 + words_);
    const int64_t by_work = (kOrderWork - work_.spent + spent_before_) / (left * std::max<int64_t>(1, each));
    const int64_t by_links = (int64_t(kOrderLinks) - int64_t(links_.size())) / left;
    const int64_t by_words = std::max<int64_t>(1, kOrderWords / int64_t(width * (words_ + width / 2 + 12)));
    if (width == 1) return 1;
    return int(std::min({by_work, std::max<int64_t>(1, by_links), by_words, int64_t(kOrderSets)}));
  }

  // The one set of no stages.
  void begin(OrderLevel* level) const {
    level->done.assign(words_, 0);
    for (int s = 0; s < count_; s++)
      if (is_ready(level->done.data(), s)) level->ready.push_back(s);
    level->sets.resize(1);
    level->sets[0].ready_count = int(level->ready.size());
    level->sets[0].live = level->sets[0].peak = lives_.state_room_bytes();
  }

  void advance(const OrderLevel& level, OrderLevel* next) {
    next->clear();
    table_.clear();
    for (const OrderSet& set : level.sets) {
      spent_ = 0;
      const int *ready = level.ready_of(set), *end = ready + set.ready_count;
      int only = set.ready_count == 1 ? *ready : -1;
      for (const int* s = ready; only < 0 && s != end; ++s)
        if (is_free(set, level.done_of(set), *s)) only = *s;
      for (const int* s = ready; s != end; ++s)
        if (only < 0 || *s == only) run_stage(level, set, *s, next);
      work_.spent += spent_;
    }
  }

  void run_stage(const OrderLevel& level, const OrderSet& set, int s, OrderLevel* next) {
    const Done done = level.done_of(set);
    const Change now = change(done, s);
    const int64_t peak = std::max(set.peak, set.live + now.need);
    const double waiting = set.waiting + double(set.live + now.delta);
    const uint64_t hash = set.hash ^ hash_of(s);
    spent_ += int64_t(words_) + set.ready_count + 8;
    if (OrderSet* found = table_.find(hash, done, s, next)) {
      if (std::tie(peak, waiting) >= std::tie(found->peak, found->waiting)) return;
      found->peak = peak;
      found->waiting = waiting;
      found->parent = set.parent;
      found->stage = s;
      return;
    }
    OrderSet after;
    after.parent = set.parent;
    after.stage = s;
    after.live = set.live + now.delta;
    after.peak = peak;
    after.waiting = waiting;
    after.hash = hash;
    after.done = int(next->done.size());
    next->done.insert(next->done.end(), done, done + words_);
    put_in(next->done.data() + after.done, s);
    add_ready(level, set, s, &after, next);
    next->sets.push_back(after);
    table_.enter(next->sets);
  }

  // What may run after a set and stage s: what might before, and what waited for that stage alone.
  void add_ready(const OrderLevel& level, const OrderSet& set, int s, OrderSet* after, OrderLevel* next) {
    const int *ready = level.ready_of(set), v = stages_[s].output, home = lives_.home(v);
    after->ready_first = int(next->ready.size());
    for (const int* r = ready; r != ready + set.ready_count; ++r)
      if (*r != s) next->ready.push_back(*r);
    for (const int* r = readers_.begin(home); r != readers_.end(home); ++r) {
      spent_++;
      if (waits_for(*r, v) && is_ready(next->done_of(*after), *r)) next->ready.push_back(*r);
    }
    after->ready_count = int(next->ready.size()) - after->ready_first;
  }

  // Whether stage r reads something of value v.
  bool waits_for(int r, int v) const {
    if (!lives_.of(v).shared) return true;  // it reads in its memory, where nothing else lies
    bool waits = false;
    for_each_read(graph_, stages_[r], [&](int u) { waits = waits || homes_.overlap(graph_, u, v); });
    return waits;
  }

  // The stages that have not run as the graph has them, but each after those that make what it reads: a stage with an
  // addition stands where its first node does, which may be before the other operand is made.
  void finish(Done before_them, PageVector<int>* order) const {
    std::vector<uint64_t> done(before_them, before_them + words_);
    std::vector<int> waiting;
    for (int s = 0; s < count_; s++) {
      waiting.push_back(s);
      while (!waiting.empty()) {
        const int next = waiting.back();
        int before = -1;
        for_each_read(graph_, stages_[next], [&](int v) { before = std::max(before, missing(done.data(), v)); });
        if (before >= 0 && !has(done.data(), next)) {
          waiting.push_back(before);
          continue;
        }
        waiting.pop_back();
        if (has(done.data(), next)) continue;
        put_in(done.data(), next);
        order->push_back(next);
      }
    }
  }

  static void keep_best(PageVector<OrderSet>* sets, int most) {
    std::stable_sort(sets->begin(), sets->end(), less_memory);
    sets->resize(size_t(most));
  }

  int64_t peak_of(const PageVector<int>& order) {
    std::vector<uint64_t> done(words_, 0);
    int64_t live = 0, peak = 0;
    for (int s : order) {
      const Change now = change(done.data(), s);
      peak = std::max(peak, live + now.need);
      live += now.delta;
      put_in(done.data(), s);
    }
    return peak;
  }

  const Graph& graph_;
  const Stages& stages_;
  const PageVector<StageScratch>& scratch_;
  Work& work_;
  const int64_t spent_before_;
  const Homes& homes_;
  const Lives lives_;
  const int count_;
  const size_t words_;
  Index makers_, readers_;
  int64_t unavoidable_;  // bytes that some stage needs in any order
  PageVector<Link> links_;
  SetTable table_;                // of the next level
  mutable PageVector<int> seen_;  // by value with memory of its own: the last visit of what gathers some of them
  mutable int gathered_ = 0;      // such visits
  int64_t spent_ = 0;
};

}  // namespace

PageVector<int> least_memory_order(const Graph& graph, const Stages& stages, const Homes& homes,
                                   const PageVector<StageScratch>& scratch, Work* work) {
  return OrderSearch(graph, stages, homes, scratch, work).run();
}

}  // namespace mbinfer
