#!/usr/bin/env bash
# conformance object_fuzz [RUNS]: the object reader on RUNS damaged objects (1,000,000 unless said
# otherwise), under ASan and UBSan, with the seeds of the comparison with libbpf: the kernel's
# selftests of up to 128 KiB, Debian's objects and our fixtures. Prints the sanitizers' reports, the
# slowest input (processor time), the most heap of one input, and the share of the reader's lines
# that a tenth of the mutants cover in a build without sanitizers.
# Exit status 0: no report, nothing over 50 ms or 64 MiB, at least 85 % of the lines of src/object
# and src/btf covered (but for the printers of BTF, which are no part of reading).
# A million runs take half an hour on two free cores; LMN_JOBS says how many to use.
set -euo pipefail
cd "$(dirname "$0")/../.."
runs=${1:-1000000}
jobs=${LMN_JOBS:-$(nproc)}
coverage_min=85
work=build/object_fuzz
export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=$PWD

# build DIR TARGETS...
build() {
  ninja -C "$1" -j "$jobs" "${@:2}" > "$work/build.log" || { cat "$work/build.log" >&2; exit 1; }
}

if [ "$runs" -lt 1000 ]; then echo "object_fuzz: at least 1000 runs" >&2; exit 2; fi
rm -rf "$work"
mkdir -p "$work/seeds"
scripts/selftests.sh build/selftests v3
cmake --preset asan > "$work/cmake.log"
flags='-O1 -g1 -DLMN_DCHECKS=1 -fprofile-instr-generate -fcoverage-mapping'
cmake --preset dev -B build/coverage -DCMAKE_CXX_FLAGS="$flags" > "$work/cmake.log"
mapfile -t fixtures < <(ninja -C build/coverage -t targets all |
  sed -n 's/^\(bpf_object_[a-z0-9_]*\): .*/\1/p')
build build/asan object_smoke
build build/coverage object_smoke "${fixtures[@]}"

find build/selftests/obj-v3 -maxdepth 2 -name '*.o' -size -128k -exec cp -t "$work/seeds" {} +
find /usr/lib/*/bpf build/debian_objects build/coverage/bpf -maxdepth 1 -name '*.o' \
  -exec cp -t "$work/seeds" {} + 2> /dev/null || true
echo "object_fuzz: $(find "$work/seeds" -type f | wc -l) seeds"

# One process per core, each with its own random seed: the sequence is the same on every machine.
reports=0 pids=()
for shard in $(seq "$jobs"); do
  mkdir "$work/$shard"
  (cd "$work/$shard" && exec ../../asan/fuzz/object_smoke --runs $((runs / jobs)) --seed "$shard" \
    --max-ms 50 --max-heap-mib 64 ../seeds) > "$work/$shard.log" 2>&1 &
  pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || reports=$((reports + 1)); done
if [ $reports -ne 0 ]; then cat "$work"/[0-9]*.log; fi
cat "$work"/[0-9]*.log | awk -v reports=$reports '
  / inputs from / {
    inputs += $2
    for (i = 1; i < NF; i++) if ($i == "slowest" && $(i + 1) > ms) ms = $(i + 1)
  }
  /most heap for one input/ && $(NF - 1) > heap { heap = $(NF - 1) }
  END {
    printf "object_fuzz: %d inputs, %d processes with reports, ", inputs, reports
    printf "slowest %.1f ms (limit 50), most heap %.1f MiB (limit 64)\n", ms, heap
  }'

LLVM_PROFILE_FILE=$work/coverage.raw build/coverage/fuzz/object_smoke --runs $((runs / 10)) \
  --seed 1 "$work/seeds" > "$work/coverage.log"
llvm-profdata-19 merge -o "$work/coverage.data" "$work/coverage.raw"
llvm-cov-19 report build/coverage/fuzz/object_smoke -instr-profile="$work/coverage.data" \
  src/object src/btf > "$work/coverage.txt"
covered=$(awk '$1 == "TOTAL" { print $10 + 0 }' "$work/coverage.txt")
awk 'NF > 9 && $10 ~ /%$/ { printf "  %-32s %5d lines %8s\n", $1, $8, $10 }' "$work/coverage.txt"
echo "object_fuzz: $covered % of the reader's lines covered by $((runs / 10)) mutants" \
  "(wanted $coverage_min)"
[ $reports -eq 0 ] && awk -v covered="$covered" -v min=$coverage_min \
  'BEGIN { exit !(covered >= min) }'
