#!/usr/bin/env bash
# conformance objects: read_object against libbpf 1.5, built from the kernel's sources, on
#   - the kernel's BPF selftests (798 objects), compiled for -mcpu=v3, v2 and v4; those that are
#     parts of others are compared linked (bpftool gen object), as the kernel's Makefile does
#   - Debian's objects: libxdp1's, and the ELF images inside xdp-tools' binaries and libknot's
#     library
# Names, sections, types, every instruction, maps and BTF ids; for -mcpu=v3 also the instruction
# counts in tests/conformance/data/verdicts.tsv. Every object that is not equal is listed with the
# reason. Exit status 0: of each set of selftests all but 8 are equal (790 of 798), of Debian's all.
# The first run takes 6 minutes (downloads and compiles), each other one about one.
set -euo pipefail
cd "$(dirname "$0")/../.."
selftests=build/selftests
for cpu in v3 v2 v4; do scripts/selftests.sh "$selftests" "$cpu"; done
scripts/libbpf.sh "$selftests"
./dev build lmn_compare_objects
compare=build/dev/tests/objects/lmn_compare_objects
verdicts=tests/conformance/data/verdicts.tsv
status=0

# The parts of the selftests' Makefile (LINKED_SKELS) that cannot be loaded alone.
links=(
  'linked_funcs=linked_funcs1+linked_funcs2'
  'linked_maps=linked_maps1+linked_maps2'
  'linked_vars=linked_vars1+linked_vars2'
  'test_subskeleton=test_subskeleton_lib2+test_subskeleton_lib+test_subskeleton'
  'test_usdt=test_usdt+test_usdt_multispec'
)

# compare_selftests CPU: one set, with its linked objects.
compare_selftests() {
  local dir=$selftests/obj-$1 counts=- link parts name object operands=() is_part=' '
  mkdir -p "$dir/linked"
  for link in "${links[@]}"; do
    parts=()
    for name in $(tr + ' ' <<< "${link#*=}"); do
      parts+=("$dir/$name.bpf.o")
      is_part+="$name "
    done
    # Twice, as their Makefile does: only then libbpf opens what it linked from extern maps.
    name=$dir/linked/${link%%=*}.linked
    /usr/sbin/bpftool gen object "${name}1.o" "${parts[@]}"
    /usr/sbin/bpftool gen object "$name.o" "${name}1.o"
    name=$name.o
    operands+=("$name=$(IFS=+; echo "${parts[*]}")")
  done
  for object in "$dir"/*.bpf.o; do
    name=$(basename "$object" .bpf.o)
    [[ $is_part == *" $name "* ]] || operands+=("$object")
  done
  [ "$1" != v3 ] || counts=$verdicts
  local count
  count=$(find "$dir" -maxdepth 1 -name '*.bpf.o' | wc -l)
  # What the compiler refuses: -mcpu=v2 has no atomic operation that returns a value.
  find "$dir" -maxdepth 1 -name '*.err' -size +0 | sort | while read -r name; do
    [ -f "${name%.err}.bpf.o" ] || echo "not compiled: $name: $(grep -m1 error: "$name")"
  done
  "$compare" "obj-$1" "$counts" $((count - 8)) "${operands[@]}" || status=1
}

for cpu in v3 v2 v4; do compare_selftests "$cpu"; done

debian=build/debian_objects
mkdir -p "$debian"
if [ ! -d "$debian/libknot" ]; then
  (cd "$debian" && apt-get -q -o APT::Sandbox::User=root download libknot13 > /dev/null &&
    dpkg-deb -x libknot13_*.deb libknot)
fi
rm -f "$debian"/*.o
scripts/carve_objects.py "$debian" /usr/sbin/xdp-* /usr/sbin/xdpdump \
  "$debian"/libknot/usr/lib/*/libknot.so.*.*
for object in "$debian"/*.o /usr/lib/*/bpf/*.o; do objects+=("$object"); done
"$compare" debian - "${#objects[@]}" "${objects[@]}" || status=1
exit $status
