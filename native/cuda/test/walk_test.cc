// The walk of a persistent grid over its tiles: every panel of every tile once and in order, all shares alike.
#include <map>
#include <vector>

#include "../pingpong_walk.h"
#include "walk_test.h"

namespace {

using namespace pogo;

struct Visit {
  uint32_t walker, order, first, end;
};

std::string check_walk(const Walk& walk) {
  std::map<uint32_t, std::vector<Visit>> visits;
  uint32_t least = ~0u, most = 0;
  for (uint32_t walker = 0; walker < walk.walkers; walker += 1) {
    uint32_t done = 0;
    WalkPart part;
    for (uint32_t i = 0; walk_part(walk, walker, i, &part); i += 1) {
      if (part.end == 0) continue;
      if (part.tile >= walk.tiles || part.first >= part.end || part.end > walk.panels) return "a part outside the result";
      visits[part.tile].push_back({walker, i, part.first, part.end});
      done += part.end - part.first;
    }
    least = done < least ? done : least;
    most = done > most ? done : most;
  }
  if (visits.size() != walk.tiles) return "a tile that nobody visits";
  for (const auto& entry : visits) {
    const std::vector<Visit>& parts = entry.second;
    if (parts.size() == 1 && parts[0].first == 0 && parts[0].end == walk.panels) continue;
    // Walkers were asked in ascending order: the head's is the one before the tail's.
    if (parts.size() != 2 || parts[0].first != 0 || parts[0].end != parts[1].first || parts[1].end != walk.panels) {
      return "a tile whose panels are not there once, head and tail";
    }
    if (parts[1].walker != parts[0].walker + 1) return "a tail that is not the next walker's";
    // The head waits for nobody, and the tail comes when everything else is done.
    if (parts[0].order != 0 || parts[1].order != walk_rounds(walk) + 3) return "a head that is not first, or a tail that is not last";
  }
  if (walk.split ? most - least > 1 : most - least > walk.panels) return "unequal shares";
  return "";
}

}  // namespace

std::string test_walks() {
  for (uint32_t tiles : {1u, 2u, 3u, 5u, 36u, 43u, 108u, 144u, 265u, 384u}) {
    for (uint32_t walkers : {1u, 2u, 3u, 7u, 33u, 132u}) {
      for (uint32_t panels : {1u, 2u, 3u, 32u, 50u}) {
        for (bool may_split : {false, true}) {
          const Walk walk = make_walk(tiles, walkers, panels, may_split);
          const std::string wrong = check_walk(walk);
          if (wrong.empty()) continue;
          return wrong + ": " + std::to_string(tiles) + " tiles, " + std::to_string(walkers) + " walkers, " +
                 std::to_string(panels) + " panels";
        }
      }
    }
  }
  // A remainder is never left to few walkers.
  const Walk walk = make_walk(36, 33, 32, true);
  return walk.split ? "" : "36 tiles and 33 walkers are not dealt out by panels";
}
