#!/usr/bin/env bash
# Builds the BPF programs of the kernel's own selftests (Linux 6.12) from Debian packages alone, for
# the conformance runs: selftests.sh [DIR [CPU]]
#
#   DIR/obj-CPU/*.bpf.o   798 objects; DIR is build/selftests, CPU v3 unless said otherwise (v2, v4)
#
# Nothing is done for objects that are there already. Needs no root and no BTF of the running
# kernel: the type header comes from the BTF of the same version's cloud image, so that it fits the
# sources. The packages are downloaded by apt (about 170 MB); 2 minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(realpath -m "${1:-build/selftests}")
cpu=${2:-v3}
mkdir -p "$dir/inc" "$dir/obj-$cpu" "$dir/headers"

say() { echo "selftests: $*" >&2; }

# The sources, the type header and libbpf's headers, once.
prepare() {
  [ -f "$dir/inc/vmlinux.h" ] && [ -d "$dir/inc/bpf" ] && return 0
  local image
  image=$(apt-cache search -n 'linux-image-6.12.*cloud-amd64-unsigned$' | awk '{print $1}' |
    sort -V | tail -1)
  [ -n "$image" ] || { say "no linux-image-6.12 package known: run apt-get update"; exit 1; }
  say "downloading linux-source-6.12 and $image"
  (cd "$dir" && apt-get -q download linux-source-6.12 "$image" > /dev/null)
  say "unpacking"
  dpkg-deb --fsys-tarfile "$dir"/linux-source-6.12_*.deb |
    tar -xO ./usr/src/linux-source-6.12.tar.xz |
    tar -xJ -C "$dir" --strip-components=1 --wildcards \
      'linux-source-6.12/tools/testing/selftests/bpf/*' 'linux-source-6.12/tools/lib/*' \
      'linux-source-6.12/tools/include/*' 'linux-source-6.12/tools/arch/*' \
      'linux-source-6.12/tools/build/*' 'linux-source-6.12/tools/scripts/*' \
      'linux-source-6.12/scripts/bpf_doc.py' 'linux-source-6.12/include/uapi/*'
  dpkg-deb --fsys-tarfile "$dir"/linux-image-6.12*.deb |
    tar -x -C "$dir" --wildcards './boot/vmlinuz*'
  scripts/unpack_vmlinux.py "$dir"/boot/vmlinuz* "$dir/vmlinux"
  /usr/sbin/bpftool btf dump file "$dir/vmlinux" format c > "$dir/inc/vmlinux.h"
  make -s -C "$dir/tools/lib/bpf" OUTPUT="$dir/headers/" DESTDIR="$dir/headers" prefix= \
    install_headers > /dev/null
  cp -r "$dir/headers/include/bpf" "$dir/inc/"
  rm -f "$dir"/*.deb "$dir/vmlinux"
}

compile() {
  local name extra=
  name=$(basename "$1" .c)
  [ -s "$dir/obj-$cpu/$name.bpf.o" ] && return 0
  # These break the rules of strict aliasing, as their own Makefile says.
  case $name in
    *_fail | bind*_prog | syscall | test_pkt_md_access | test_sk_lookup | timer_crash | \
      test_global_func9 | verifier_nocsr)
      extra=-fno-strict-aliasing
      ;;
  esac
  clang-19 -g -Wall -Werror -D__TARGET_ARCH_x86 -mlittle-endian -DENABLE_ATOMICS_TESTS $extra -O2 \
    --target=bpf "-mcpu=$cpu" -I"$dir/inc" -I"$dir/tools/testing/selftests/bpf" \
    -I"$dir/tools/include/uapi" -Wno-compare-distinct-pointer-types \
    -idirafter /usr/lib/llvm-19/lib/clang/19/include -idirafter /usr/include/x86_64-linux-gnu \
    -idirafter /usr/include -c "$1" -o "$dir/obj-$cpu/$name.bpf.o" \
    2> "$dir/obj-$cpu/$name.err" || rm -f "$dir/obj-$cpu/$name.bpf.o"
}

prepare
export dir cpu
export -f compile
printf '%s\n' "$dir"/tools/testing/selftests/bpf/progs/*.c |
  xargs -P"$(nproc)" -I{} bash -c 'compile {}'
count=$(find "$dir/obj-$cpu" -name '*.bpf.o' | wc -l)
total=$(find "$dir/tools/testing/selftests/bpf/progs" -name '*.c' | wc -l)
say "$count of $total objects in $dir/obj-$cpu (-mcpu=$cpu)"
[ "$count" -gt 0 ]
