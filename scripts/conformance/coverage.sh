#!/usr/bin/env bash
# conformance coverage MODULE...: how much of a module its tests reach (helpers, kfuncs, maps, ...).
# Builds the module's unit tests and those differential and contract tests that exercise it with
# clang's source coverage, runs them, and prints lines and branches per file of src/MODULE, tests
# left out. A branch is each way that a condition can go.
# Exit status 0: at least 90 % of the branches of every module named.
# The tests that need the kernel skip without the rights, and then the share is lower.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -ge 1 ] || { echo "usage: ./dev conformance coverage MODULE..." >&2; exit 2; }
branches_min=90
dir=build/branch_coverage
work=$dir/profiles
jobs=${LMN_JOBS:-$(nproc)}
export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=$PWD
export LLVM_PROFILE_FILE=$PWD/$work/build.profraw  # of tools that run while it builds

# tests_of MODULE: the test programs that exercise it.
tests_of() {
  case $1 in
    helpers)
      echo lmn_helpers_test lmn_helpers_differential_test lmn_helper_programs_differential_test \
        lmn_value_programs_differential_test lmn_sockets_differential_test \
        lmn_btf_show_differential_test lmn_isa_differential_test ;;
    maps)
      echo lmn_maps_test lmn_maps_contract_test lmn_map_values_test lmn_maps_dump_test \
        lmn_value_programs_differential_test lmn_isa_differential_test \
        lmn_helpers_differential_test lmn_kfunc_programs_differential_test ;;
    kfuncs)
      echo lmn_kfuncs_test lmn_kfuncs_differential_test lmn_kfunc_programs_differential_test \
        lmn_value_programs_differential_test lmn_conntrack_differential_test \
        lmn_metadata_differential_test lmn_own_kfuncs_differential_test \
        lmn_kernel_objects_differential_test lmn_exec_test ;;
    packet)
      echo lmn_packet_test lmn_helpers_test lmn_helpers_differential_test \
        lmn_sockets_differential_test ;;
    *) echo "lmn_$1_test" ;;
  esac
}

mkdir -p "$dir" "$work"
flags='-O1 -g1 -DLMN_DCHECKS=1 -fprofile-instr-generate -fcoverage-mapping'
cmake --preset dev -B "$dir" -DCMAKE_CXX_FLAGS="$flags" > "$dir/cmake.log"
status=0
for module in "$@"; do
  [ -d "src/$module" ] || { echo "coverage: no module '$module'" >&2; exit 2; }
  read -ra wanted <<< "$(tests_of "$module")"
  # Those that this tree has.
  mapfile -t targets < <(ninja -C "$dir" -t targets all | sed -n 's/: phony$//p' |
    grep -Fx -f <(printf '%s\n' "${wanted[@]}"))
  [ ${#targets[@]} -gt 0 ] || { echo "coverage: $module has no tests" >&2; exit 2; }
  ninja -C "$dir" -j "$jobs" "${targets[@]}" > "$dir/build.log" ||
    { cat "$dir/build.log" >&2; exit 1; }
  rm -f "$work"/*.profraw
  programs=()
  for target in "${targets[@]}"; do
    program=$(find "$dir" -name "$target" -type f -perm -u+x | head -1)
    programs+=("$program")
    LLVM_PROFILE_FILE="$work/$target.profraw" timeout 600 "$program" > "$work/$target.log" 2>&1 ||
      { echo "coverage: $target failed: $work/$target.log" >&2; status=1; }
  done
  llvm-profdata-19 merge -sparse "$work"/*.profraw -o "$work/$module.profdata"
  objects=("${programs[0]}")
  for program in "${programs[@]:1}"; do objects+=(-object "$program"); done
  mapfile -t sources < <(find "src/$module" \( -name '*.cc' -o -name '*.h' \) \
    ! -name '*_test.cc' ! -name 'test_run.h' | sort)
  llvm-cov-19 export -summary-only -instr-profile="$work/$module.profdata" "${objects[@]}" \
    --sources "${sources[@]}" > "$work/$module.json"
  python3 - "$work/$module.json" "$module" "$branches_min" "$PWD/" << 'PYTHON' || status=1
import json
import sys

path, module, minimum, root = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
data = json.load(open(path))["data"][0]
print(f"{'file':44} {'lines':>14} {'branches':>14}")
def share(part):
    return f"{part['covered']}/{part['count']} {part['percent']:5.1f}%" if part["count"] else "-"
for one in sorted(data["files"], key=lambda f: f["filename"]):
    summary = one["summary"]
    print(f"{one['filename'].removeprefix(root):44} {share(summary['lines']):>14} "
          f"{share(summary['branches']):>14}")
totals = data["totals"]
print(f"{'src/' + module:44} {share(totals['lines']):>14} {share(totals['branches']):>14}")
if totals["branches"]["percent"] < minimum:
    print(f"coverage: src/{module}: {totals['branches']['percent']:.1f} % of the branches, "
          f"at least {minimum:.0f} wanted", file=sys.stderr)
    sys.exit(1)
PYTHON
done
exit $status
