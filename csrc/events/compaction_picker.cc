#include "events/compaction_picker.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "events/time_windows.h"

namespace segue {
namespace {

// AllCompactions takes so many times more inputs: fewer passes for who waits.
constexpr size_t kMostForced = 8;

WindowNode NodeOf(const ManifestTable& table, int64_t window) {
  return WindowNode::Of(WindowOf(table.min_time, window), WindowOf(table.max_time, window));
}

bool HidesRows(const ManifestTable& table) { return table.visible_from > table.min_time; }

// At least half of the windows that a table covers have expired: worth a rewrite,
// which halves what is left to expire of it.
bool MostlyExpired(const ManifestTable& table, int64_t window) {
  if (!HidesRows(table)) return false;
  const auto first = static_cast<uint64_t>(WindowOf(table.min_time, window));
  const uint64_t expired = static_cast<uint64_t>(WindowOf(table.visible_from, window)) - first;
  const uint64_t all = static_cast<uint64_t>(WindowOf(table.max_time, window)) - first + 1;
  return expired >= all / 2 + all % 2;
}

CompactionPick Make(const std::vector<ManifestTable>& tables, std::vector<size_t> inputs) {
  CompactionPick pick;
  std::sort(inputs.begin(), inputs.end());
  for (const size_t input : inputs) pick.bytes += tables[input].file_size;
  pick.inputs = std::move(inputs);
  return pick;
}

// The smallest first; ties in a fixed order.
void SortBySize(const std::vector<ManifestTable>& tables, std::vector<size_t>* places) {
  std::sort(places->begin(), places->end(), [&](size_t a, size_t b) {
    return std::tie(tables[a].file_size, tables[a].file_number) < std::tie(tables[b].file_size, tables[b].file_number);
  });
}

// What is merged as a whole: a table, or tables of disjoint keys that continue
// each other. Counted one by one, the latter would be similar to each other, and
// due again as soon as they are merged.
struct Unit {
  std::vector<size_t> places;
  uint64_t bytes = 0;

  void Add(const std::vector<ManifestTable>& tables, size_t place) {
    places.push_back(place);
    bytes += tables[place].file_size;
  }
};

// The smallest first.
std::vector<Unit> UnitsOf(const std::vector<ManifestTable>& tables, std::vector<size_t> places, uint64_t table_keys) {
  std::sort(places.begin(), places.end(), [&](size_t a, size_t b) {
    return std::tie(tables[a].first_key, tables[a].file_number) < std::tie(tables[b].first_key, tables[b].file_number);
  });
  std::vector<Unit> chains;  // of tables that are full, or may be
  std::vector<Unit> units;
  for (const size_t place : places) {
    const bool full = tables[place].rows >= table_keys;
    const auto before = std::find_if(chains.begin(), chains.end(), [&](const Unit& chain) {
      return tables[chain.places.back()].last_key < tables[place].first_key;
    });
    Unit& unit = !full ? units.emplace_back() : before == chains.end() ? chains.emplace_back() : *before;
    unit.Add(tables, place);
  }
  std::move(chains.begin(), chains.end(), std::back_inserter(units));
  std::stable_sort(units.begin(), units.end(), [](const Unit& a, const Unit& b) { return a.bytes < b.bytes; });
  return units;
}

// How many of the smallest units to merge at this ratio; 0: none.
size_t SimilarUnits(const std::vector<Unit>& units, uint64_t ratio, size_t most_tables) {
  size_t take = 0;
  size_t count = 0;
  uint64_t total = 0;
  for (size_t n = 1; n <= units.size(); ++n) {
    const Unit& largest = units[n - 1];
    count += largest.places.size();
    if (count > most_tables) break;
    total += largest.bytes;
    if (n > 1 && total / ratio >= largest.bytes) take = n;
  }
  return take;
}

// One table, or what a merge made of more keys than one table holds: tables of
// disjoint keys, of which only the last one may be small.
bool IsMerged(const std::vector<ManifestTable>& tables, std::vector<size_t> places, uint64_t table_keys) {
  const auto small = std::count_if(places.begin(), places.end(), [&](size_t i) { return tables[i].rows < table_keys; });
  if (places.size() > 1 && small > 1) return false;
  std::sort(places.begin(), places.end(),
            [&](size_t a, size_t b) { return tables[a].first_key < tables[b].first_key; });
  for (size_t i = 1; i < places.size(); ++i) {
    if (tables[places[i - 1]].last_key >= tables[places[i]].first_key) return false;
  }
  return true;
}

}  // namespace

std::vector<CompactionPick> DueCompactions(const std::vector<ManifestTable>& tables, int64_t window,
                                           uint64_t handoff_seq, const CompactionRules& rules) {
  std::vector<size_t> newest(tables.size());
  for (size_t i = 0; i < tables.size(); ++i) newest[i] = i;
  std::sort(newest.begin(), newest.end(), [&](size_t a, size_t b) { return tables[a].max_seq > tables[b].max_seq; });
  newest.resize(std::min(newest.size(), rules.newest));

  std::map<std::pair<WindowNode, bool>, std::vector<size_t>> groups;
  for (size_t i = 0; i < tables.size(); ++i) {
    groups[{NodeOf(tables[i], window), tables[i].max_seq <= handoff_seq}].push_back(i);
  }
  std::vector<CompactionPick> picks;
  for (auto& [group, places] : groups) {
    const std::vector<Unit> units = UnitsOf(tables, places, rules.table_keys);
    const bool crowded = units.size() > rules.crowded;
    const bool active =
        std::any_of(newest.begin(), newest.end(), [&](size_t i) { return NodeOf(tables[i], window) == group.first; });
    const uint64_t ratio = crowded ? 2 : active ? rules.fan_in : rules.settled_fan_in;
    const size_t take = SimilarUnits(units, ratio, rules.most_inputs);
    std::vector<size_t> inputs;
    for (size_t n = 0; n < units.size(); ++n) {
      for (const size_t place : units[n].places) {
        if (n < take) {
          inputs.push_back(place);
        } else if (MostlyExpired(tables[place], window)) {
          picks.push_back(Make(tables, {place}));
        }
      }
    }
    if (inputs.empty()) continue;
    picks.push_back(Make(tables, std::move(inputs)));
    picks.back().crowded = crowded;
  }
  // Crowded ones do not wait. More tables cost each read more; of as many, the cheaper merge first.
  std::stable_sort(picks.begin(), picks.end(), [](const CompactionPick& a, const CompactionPick& b) {
    if (a.crowded != b.crowded) return a.crowded;
    return a.inputs.size() != b.inputs.size() ? a.inputs.size() > b.inputs.size() : a.bytes < b.bytes;
  });
  return picks;
}

std::vector<CompactionPick> AllCompactions(const std::vector<ManifestTable>& tables, int64_t window, uint64_t upto_seq,
                                           const CompactionRules& rules) {
  std::map<WindowNode, std::vector<size_t>> nodes;
  for (size_t i = 0; i < tables.size(); ++i) {
    if (tables[i].min_seq <= upto_seq) nodes[NodeOf(tables[i], window)].push_back(i);
  }
  std::vector<CompactionPick> picks;
  // From the top: what is merged there comes down to the nodes below.
  for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
    std::vector<size_t>& places = node->second;
    if (IsMerged(tables, places, rules.table_keys)) {
      for (const size_t place : places) {
        if (HidesRows(tables[place])) picks.push_back(Make(tables, {place}));
      }
      continue;
    }
    SortBySize(tables, &places);
    if (places.size() > kMostForced * rules.most_inputs) places.resize(kMostForced * rules.most_inputs);
    picks.push_back(Make(tables, places));
  }
  return picks;
}

uint64_t MostTablesOfAWindow(const std::vector<ManifestTable>& tables, int64_t window) {
  std::vector<std::pair<int64_t, int>> steps;  // (window, 0: a table begins with it, 1: one ended before the next)
  for (const ManifestTable& table : tables) {
    steps.emplace_back(WindowOf(table.min_time, window), 0);
    steps.emplace_back(WindowOf(table.max_time, window), 1);
  }
  std::sort(steps.begin(), steps.end());
  uint64_t open = 0;
  uint64_t most = 0;
  for (const auto& [at, ends] : steps) {
    open = ends == 0 ? open + 1 : open - 1;
    most = std::max(most, open);
  }
  return most;
}

}  // namespace segue
