#!/usr/bin/env bash
# conformance btf_dump FOLDER: lmn btf dump against bpftool btf dump, as records and as C, for every
# object (*.o) of a folder, such as the kernel's BPF selftests. Prints how many are equal and names
# the others; exit status 0: all are.
set -euo pipefail
if [ ! -d "${1:-}" ]; then
  echo "usage: ./dev conformance btf_dump FOLDER" >&2
  exit 2
fi
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."
./dev build lmn
ours=$(mktemp) theirs=$(mktemp)
trap 'rm -f "$ours" "$theirs"' EXIT
total=0
declare -A equal=([raw]=0 [c]=0)
for object in "$folder"/*.o; do
  total=$((total + 1))
  for format in raw c; do
    # An object without types is a failure of both.
    build/dev/tools/lmn btf dump "$object" --format $format >"$ours" 2>&1 || echo failed >"$ours"
    bpftool btf dump file "$object" format $format >"$theirs" 2>/dev/null || echo failed >"$theirs"
    if cmp -s "$ours" "$theirs"; then
      equal[$format]=$((equal[$format] + 1))
    else
      echo "different: $format $object"
    fi
  done
done
echo "$total objects; equal as records: ${equal[raw]}, as C: ${equal[c]}"
[ "$total" -gt 0 ] && [ "${equal[raw]}" -eq "$total" ] && [ "${equal[c]}" -eq "$total" ]
