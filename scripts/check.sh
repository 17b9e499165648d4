#!/usr/bin/env bash
# Everything that must hold before a push (./dev check): both compilers, the sanitizers, lint,
# format, headers, repository rules.
#
# Runs all steps even when one fails, keeps each step's output in build/check/<step>.log, and ends
# with a table of times. Exit status 1 when a step failed. docs/GATES.md has what each step is for
# and how long it takes.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
jobs=${LMN_JOBS:-$(nproc)}
log_dir=$PWD/build/check
mkdir -p "$log_dir"
failed=()
table=''

# step NAME COMMAND...
step() {
  local name=$1 started=$SECONDS state=ok
  shift
  echo "lmn: check: $name"
  if ! "$@" > "$log_dir/$name.log" 2>&1; then
    state=FAILED
    failed+=("$name")
    tail -n 30 "$log_dir/$name.log"
  fi
  table+=$(printf '%-10s %6d s  %s' "$name" $((SECONDS - started)) "$state")$'\n'
}

sources() { git ls-files "$@" ':!third_party'; }

check_format() { sources '*.cc' '*.h' '*.c' | xargs -r clang-format-19 --dry-run -Werror; }

# build PRESET: configures and builds everything.
build() {
  cmake --preset "$1" && ninja -C "build/$1" -j "$jobs"
}

# tests PRESET [ctest arguments]
tests() {
  local dir=build/$1
  shift
  rm -f "$dir/junit.xml"
  (cd "$dir" && ctest -j "$jobs" --output-on-failure --no-tests=error --output-junit junit.xml \
    --test-output-size-passed 65536 --test-output-size-failed 262144 "$@")
  scripts/test_summary.py "$dir/junit.xml"
}

build_and_test() { build "$1" && tests "$@"; }

# Every header compiles alone, and twice.
check_headers() {
  # shellcheck disable=SC2016  # $1 is for the inner shell
  sources 'src/*.h' 'include/*.h' | xargs -r -P "$jobs" -I {} sh -c '
    printf "#include \"%s\"\n#include \"%s\"\n" "$1" "$1" |
      clang++-19 -std=c++23 -Wall -Werror -Isrc -I. -isystem third_party/linux-uapi \
        -fsyntax-only -x c++ - || { echo "not self-contained: $1"; exit 255; }' sh {}
}

# The files that the dev build compiles, with its flags.
check_tidy() { scripts/run_clang_tidy.py --jobs "$jobs" build/dev; }

check_shell() { { sources '*.sh'; echo dev .ci/run; } | xargs -r shellcheck -x -P SCRIPTDIR; }

step format check_format
step shellcheck check_shell
step dev build_and_test dev
step headers check_headers
step clang-tidy check_tidy
step gcc build_and_test gcc -L unit
step asan build_and_test asan -LE 'repository|bench'
step tsan build_and_test tsan -L unit

printf '\n%s' "$table"
if [ ${#failed[@]} -gt 0 ]; then
  echo "check failed: ${failed[*]} (logs in build/check)"
  exit 1
fi
echo "check passed"
