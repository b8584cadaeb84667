// Breadth-first over the sets of stages already run: two orders of the same set leave the same values alive, so only
// the better one is kept. A stage that frees no less than it makes, and needs no more than was or will be needed
// anyway, is run at once: in any order it could be moved to the front. So is the first of a chain that ends like that.
// What is left to choose is little in the networks of this class; where it is not, the sets kept on a level are as many
// as the work allows, and at the end the stages follow in the graph's order.
#include "plan/order.h"

#include <algorithm>

#include "plan/lives.h"

namespace mbinfer {
namespace {

class OrderSearch {
 public:
  OrderSearch(const Graph& graph, const std::vector<Stage>& stages, const std::vector<StageScratch>& scratch,
              Work* work)
      : graph_(graph),
        stages_(stages),
        scratch_(scratch),
        work_(*work),
        spent_before_(work->spent),
        lives_(lives_of(graph, stages)),
        count_(int(stages.size())),
        words_(size_t(ceil_div(count_, 64))) {
    index_readers();
    unavoidable_ = 0;
    for (int s = 0; s < count_; s++) {
      int64_t own = bytes(stages_[s].output) + std::min(scratch_[s].beside, scratch_[s].over_input);
      for_each_read(stages_[s], [&](int v) { own += in_arena(v) ? bytes(v) : 0; });
      unavoidable_ = std::max(unavoidable_, own);
    }
  }

  std::vector<int> run() {
    bool complete = true;
    std::vector<Set> level(1), next;
    level[0].done.assign(words_, 0);
    for (int s = 0; s < count_; s++)
      if (is_ready(level[0].done, s)) level[0].ready.push_back(s);
    int made = 0;
    for (; made < count_; made++) {
      size_t width = 0;
      for (const Set& set : level) width = std::max(width, set.ready.size());
      const int most = sets_allowed(made, width);
      if (most <= 0) break;
      advance(level, &next);
      if (int(next.size()) > most) {
        complete = false;
        keep_best(&next, most);
      }
      for (Set& set : next) {
        links_.push_back({set.parent, set.stage});
        set.parent = int(links_.size()) - 1;
      }
      level.swap(next);
    }
    const Set& best = *std::min_element(level.begin(), level.end(), less_memory);
    std::vector<int> order;
    for (int at = best.parent; at >= 0; at = links_[size_t(at)].before) order.push_back(links_[size_t(at)].stage);
    std::reverse(order.begin(), order.end());
    if (made < count_) finish(best.done, &order);
    if (complete && made == count_) return order;
    work_.shortcuts |= kOrderShortcut;
    std::vector<int> given;
    finish(std::vector<uint64_t>(words_, 0), &given);
    return peak_of(given) < peak_of(order) ? given : order;
  }

 private:
  struct Set {
    std::vector<uint64_t> done;
    std::vector<int> ready;
    int64_t live = 0, peak = 0;
    uint64_t hash = 0;
    int parent = -1, stage = -1;  // a link, and the stage run last
  };
  struct Link {
    int before, stage;
  };
  struct Change {  // what running a stage does to the bytes alive, and needs for the moment beside those before it
    int64_t delta, need;
  };

  static bool has(const std::vector<uint64_t>& set, int s) { return set[size_t(s) / 64] >> (s % 64) & 1; }
  static bool less_memory(const Set& a, const Set& b) { return a.peak != b.peak ? a.peak < b.peak : a.live < b.live; }
  static uint64_t hash_of(int s) {  // SplitMix64 (Steele et al. 2014)
    uint64_t x = (uint64_t(s) + 1) * 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
  }

  int64_t bytes(int v) const { return round_up(graph_.values[v].bytes(), kArenaAlign); }
  bool in_arena(int v) const { return lives_[size_t(v)].maker >= 0; }

  void index_readers() {
    first_.assign(graph_.values.size() + 1, 0);
    for (size_t v = 0; v < lives_.size(); v++) first_[v + 1] = first_[v] + lives_[v].readers;
    readers_.resize(size_t(first_.back()));
    std::vector<int> next(first_.begin(), first_.end() - 1);
    for (int s = 0; s < count_; s++) for_each_read(stages_[s], [&](int v) { readers_[size_t(next[size_t(v)]++)] = s; });
  }

  bool is_ready(const std::vector<uint64_t>& done, int s) const {
    bool ready = true;
    for_each_read(stages_[s], [&](int v) { ready = ready && (!in_arena(v) || has(done, lives_[size_t(v)].maker)); });
    return ready;
  }

  // Whether stage s is the last one to read v.
  bool frees(const std::vector<uint64_t>& done, int s, int v) {
    if (!in_arena(v) || lives_[size_t(v)].last_reader == kCaller) return false;
    for (int i = first_[size_t(v)]; i < first_[size_t(v) + 1]; i++) {
      spent_++;
      if (readers_[size_t(i)] != s && !has(done, readers_[size_t(i)])) return false;
    }
    return true;
  }

  Change change(const std::vector<uint64_t>& done, int s) {
    int64_t freed = 0;
    bool over_input = false;
    for_each_read(stages_[s], [&](int v) {
      if (!frees(done, s, v)) return;
      freed += bytes(v);
      over_input = over_input || v == stages_[s].input;
    });
    const int64_t out = bytes(stages_[s].output), beside = scratch_[s].beside;
    return {out - freed, out + (over_input ? std::min(beside, scratch_[s].over_input) : beside)};
  }

  // Whether stage s, or a chain that begins with it, frees what it makes within the memory that is needed anyway.
  bool is_free(const Set& set, int s) {
    const int64_t most = std::max(set.peak, unavoidable_);
    Change now = change(set.done, s);
    int64_t live = set.live;
    for (int i = 0; i < kOrderLookAhead; i++) {
      spent_++;
      if (live + now.need > most) return false;
      live += now.delta;
      if (live <= set.live) return true;
      const int v = stages_[s].output;
      if (lives_[size_t(v)].readers != 1 || lives_[size_t(v)].last_reader == kCaller) return false;
      s = lives_[size_t(v)].last_reader;
      bool alone = true;  // what it reads beside the chain's value is there
      for_each_read(stages_[s], [&](int u) {
        alone = alone && (u == v || !in_arena(u) || has(set.done, lives_[size_t(u)].maker));
      });
      if (!alone) return false;
      now = change(set.done, s);
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

  void advance(const std::vector<Set>& level, std::vector<Set>* next) {
    next->clear();
    table_.assign(16, -1);
    for (const Set& set : level) {
      spent_ = 0;
      int only = set.ready.size() == 1 ? set.ready[0] : -1;
      for (size_t i = 0; only < 0 && i < set.ready.size(); i++)
        if (is_free(set, set.ready[i])) only = set.ready[i];
      for (int s : set.ready)
        if (only < 0 || s == only) run_stage(set, s, next);
      work_.spent += spent_;
    }
  }

  void run_stage(const Set& set, int s, std::vector<Set>* next) {
    const Change now = change(set.done, s);
    const int64_t peak = std::max(set.peak, set.live + now.need);
    const uint64_t hash = set.hash ^ hash_of(s);
    spent_ += int64_t(words_ + set.ready.size()) + 8;
    Set* found = find(hash, set.done, s, *next);
    if (found) {
      if (peak < found->peak) found->peak = peak, found->parent = set.parent, found->stage = s;
      return;
    }
    next->push_back(set);
    Set& after = next->back();
    after.done[size_t(s) / 64] |= uint64_t(1) << (s % 64);
    after.live += now.delta;
    after.peak = peak;
    after.hash = hash;
    after.stage = s;
    after.ready.erase(std::find(after.ready.begin(), after.ready.end(), s));
    const int v = stages_[s].output;
    for (int i = first_[size_t(v)]; i < first_[size_t(v) + 1]; i++) {
      spent_++;
      if (is_ready(after.done, readers_[size_t(i)])) after.ready.push_back(readers_[size_t(i)]);
    }
    enter(hash, int(next->size()) - 1, *next);
  }

  // The set of `done` and s on the next level, if it is there: an open hash table of indices.
  Set* find(uint64_t hash, const std::vector<uint64_t>& done, int s, std::vector<Set>& next) {
    for (size_t i = hash & (table_.size() - 1); table_[i] >= 0; i = (i + 1) & (table_.size() - 1)) {
      Set& other = next[size_t(table_[i])];
      if (other.hash != hash || !has(other.done, s)) continue;
      bool equal = true;
      for (size_t w = 0; w < words_; w++)
        equal = equal && other.done[w] == (done[w] | (w == size_t(s) / 64 ? uint64_t(1) << (s % 64) : 0));
      if (equal) return &other;
    }
    return nullptr;
  }

  void enter(uint64_t hash, int index, const std::vector<Set>& next) {
    if (2 * next.size() > table_.size()) {
      table_.assign(4 * table_.size(), -1);
      for (int i = 0; i < index; i++) put(next[size_t(i)].hash, i);
    }
    put(hash, index);
  }

  void put(uint64_t hash, int index) {
    size_t i = hash & (table_.size() - 1);
    while (table_[i] >= 0) i = (i + 1) & (table_.size() - 1);
    table_[i] = index;
  }

  // The stages that have not run as the graph has them, but each after those that make what it reads: a stage with an
  // addition stands where its first node does, which may be before the other operand is made.
  void finish(std::vector<uint64_t> done, std::vector<int>* order) const {
    std::vector<int> waiting;
    for (int s = 0; s < count_; s++) {
      waiting.push_back(s);
      while (!waiting.empty()) {
        const int next = waiting.back();
        int missing = -1;
        for_each_read(stages_[next], [&](int v) {
          if (in_arena(v) && !has(done, lives_[size_t(v)].maker)) missing = lives_[size_t(v)].maker;
        });
        if (missing >= 0 && !has(done, next)) {
          waiting.push_back(missing);
          continue;
        }
        waiting.pop_back();
        if (has(done, next)) continue;
        done[size_t(next) / 64] |= uint64_t(1) << (next % 64);
        order->push_back(next);
      }
    }
  }

  static void keep_best(std::vector<Set>* sets, int most) {
    std::stable_sort(sets->begin(), sets->end(), less_memory);
    sets->resize(size_t(most));
  }

  int64_t peak_of(const std::vector<int>& order) {
    std::vector<uint64_t> done(words_, 0);
    int64_t live = 0, peak = 0;
    for (int s : order) {
      const Change now = change(done, s);
      peak = std::max(peak, live + now.need);
      live += now.delta;
      done[size_t(s) / 64] |= uint64_t(1) << (s % 64);
    }
    return peak;
  }

  const Graph& graph_;
  const std::vector<Stage>& stages_;
  const std::vector<StageScratch>& scratch_;
  Work& work_;
  const int64_t spent_before_;
  const std::vector<Life> lives_;
  const int count_;
  const size_t words_;
  std::vector<int> first_, readers_;  // by value: its readers
  int64_t unavoidable_;               // bytes that some stage needs in any order
  std::vector<Link> links_;
  std::vector<int> table_;
  int64_t spent_ = 0;
};

}  // namespace

std::vector<int> least_memory_order(const Graph& graph, const std::vector<Stage>& stages,
                                    const std::vector<StageScratch>& scratch, Work* work) {
  return OrderSearch(graph, stages, scratch, work).run();
}

}  // namespace mbinfer
