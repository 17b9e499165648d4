#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Four threads on one map, ten million operations per type: maps_concurrent.sh [OPERATIONS]
#
# Runs the histories of src/maps/maps_concurrency_test.cc at length: hash (preallocated and not),
# LRU, trie, queue, ring buffer. Exit status 1 when a history is not linearizable per key.
set -euo pipefail
cd "$(dirname "$0")/../.."
./dev build lmn_maps_test
export LMN_CONCURRENCY_OPERATIONS=${1:-10000000}
build/dev/src/maps/lmn_maps_test --gtest_filter='*MapsConcurrency*'
