#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Four threads on one map, ten million operations per type: maps_concurrent.sh [OPERATIONS [PRESET]]
#
# Runs the histories of src/maps/maps_concurrency_test.cc and src/maps/linearizability_test.cc at
# length: hash (preallocated and not), LRU, trie, array, queue, stack, ring buffer. PRESET tsan
# looks for data races as well; its own count is 1,000,000, since each operation takes it some ten
# times as long. Exit status 1 when a history is not linearizable, or there was a race.
set -euo pipefail
cd "$(dirname "$0")/../.."
preset=${2:-dev}
operations=${1:-10000000}
[ "$preset" = tsan ] && [ -z "${1:-}" ] && operations=1000000
dir=${LMN_BUILD_DIR:-build/$preset}
if [ -z "${LMN_BUILD_DIR:-}" ]; then
  export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=$PWD
  mkdir -p "$dir"
  [ -f "$dir/build.ninja" ] || cmake --preset "$preset" > "$dir/configure.log"
  ninja -C "$dir" -j "${LMN_JOBS:-$(nproc)}" lmn_maps_test
fi
export LMN_CONCURRENCY_OPERATIONS=$operations
"$dir/src/maps/lmn_maps_test" --gtest_filter='*MapsConcurrency*:*Linearizable*'
