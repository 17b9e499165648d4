#!/usr/bin/env bash
# conformance objects_table [--update]: the objects of the kernel's BPF selftests, each compared
# with its row in tests/objects/selftests.tsv: programs with instruction counts, maps, number of BTF
# types. A row is keyed by the hash of its source, since the sources move; objects without a row are
# counted. Exit status 0: all that have a row are equal, and there are at least 700. Quicker than
# conformance objects, which compares with libbpf itself, and in words that can be read.
# The rows were equal to libbpf 1.5 when they were written (Linux 6.12.117).
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=build/selftests
scripts/selftests.sh "$dir" v3
./dev build lmn_describe_objects
table=tests/objects/selftests.tsv
found=$(mktemp)
trap 'rm -f "$found"' EXIT
for object in "$dir"/obj-v3/*.bpf.o; do
  name=$(basename "$object" .bpf.o)
  source="$dir/tools/testing/selftests/bpf/progs/$name.c"
  [ -f "$source" ] || continue
  printf '%s\t' "$(sha256sum "$source" | cut -c1-16)"
  build/dev/tests/objects/lmn_describe_objects "$object"
done > "$found"
if [ "${1:-}" = --update ]; then
  cp "$found" "$table"
fi
awk -F'\t' -v OFS='\t' '
  NR == FNR { row[$1 OFS $2] = $0; next }
  !(($1 OFS $2) in row) { unknown++; next }
  row[$1 OFS $2] == $0 { equal++; next }
  { different++; print "different: " $2 "\n  now   " $0 "\n  table " row[$1 OFS $2] }
  END {
    printf "objects: %d equal, %d different, %d without a row\n", equal, different, unknown
    exit different > 0 || equal < 700
  }' "$table" "$found"
