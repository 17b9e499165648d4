#!/usr/bin/env bash
# Does LMN build, run its demo and pass its tests on a fresh Debian 12? The promise of the README,
# tried: fresh_machine_test.sh [--base FILE.tar] [--only demo|test] [--keep]
#
# Makes a minimal Debian 12 with debootstrap (git and apt, nothing else), clones HEAD of this
# repository into it and runs ./dev demo, then ./dev test, in a chroot with mounts of its own.
# Prints what each took and removes everything; exit status 0 when both succeeded in time and left
# no network namespace or link behind. Needs root, debootstrap and 6 GB of disk.
#   --base FILE.tar   keeps the bare system there, or takes it from there when the file exists
#   --only STEP       runs one of the two
#   --keep            leaves the folder for a look inside (no mount survives)
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD
declare -A seconds_max=([demo]=600 [test]=1500)

say() { echo "fresh machine: $*"; }
die() { echo "fresh machine: $*" >&2; exit 1; }

# The mirror that this machine uses for Debian 12, from either format of apt's sources.
mirror() {
  local found
  found=$(grep -rhE '^(deb |URIs:)' /etc/apt/sources.list /etc/apt/sources.list.d 2> /dev/null |
    grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1 | tr -d ' ' || true)
  echo "${found:-http://deb.debian.org/debian}"
}

# make_base DIR: the bare system; what it shares with this machine is the way to the mirror.
make_base() {
  local dir=$1 base
  if [ -n "$base_tar" ] && [ -f "$base_tar" ]; then
    tar -xf "$base_tar" -C "$dir" --numeric-owner
  else
    debootstrap --variant=minbase --include=git,ca-certificates bookworm "$dir" "$(mirror)" \
      > "$logs/debootstrap.log" 2>&1 || { tail "$logs/debootstrap.log"; die "debootstrap failed"; }
    if [ -n "$base_tar" ]; then tar -cf "$base_tar" -C "$dir" --numeric-owner .; fi
  fi
  cp /etc/resolv.conf "$dir/etc/resolv.conf"
  grep -lri 'proxy' /etc/apt/apt.conf /etc/apt/apt.conf.d 2> /dev/null |
    xargs -r cp -t "$dir/etc/apt/apt.conf.d" || true
  # Certificates of a proxy, if this machine trusts any.
  base=/usr/local/share/ca-certificates
  if [ -n "$(ls -A $base 2> /dev/null)" ]; then
    cp -r "$base/." "$dir$base/"
    chroot "$dir" update-ca-certificates > /dev/null 2>&1
  fi
}

# network_state DIR: what a run may leave behind. The links are those of this machine, where others
# work too.
network_state() {
  find "$1/run/netns" -mindepth 1 -printf 'namespace %f\n' 2> /dev/null
  find /sys/class/net -name 'lmn*' -printf 'link %f\n'
}

# Runs in mount and pid namespaces of its own, so that nothing outlives it. inside DIR STEP...
inside() {
  local dir=$1 step started seconds limit status=0 before
  shift
  mount --make-rprivate /
  mount -t proc proc "$dir/proc"
  mount --rbind /sys "$dir/sys"
  mount --rbind /dev "$dir/dev"
  mount -t tmpfs tmpfs "$dir/run"
  for step in "$@"; do
    limit=${seconds_max[$step]}
    before=$(network_state "$dir")
    started=$SECONDS
    say "./dev $step (log: $logs/$step.log)"
    # Nothing of this machine's environment but a proxy may help.
    if ! env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb LANG=C.UTF-8 \
      ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
      timeout -k 10 $((2 * limit)) chroot "$dir" bash -c "cd /root/lmn && ./dev $step" \
      < /dev/null > "$logs/$step.log" 2>&1; then
      say "./dev $step FAILED; the end of its log:"
      tail -n 40 "$logs/$step.log"
      status=1
    fi
    seconds=$((SECONDS - started))
    say "./dev $step took $seconds s, limit $limit s: $(tail -n 1 "$logs/$step.log")"
    [ "$seconds" -le "$limit" ] || { say "too slow"; status=1; }
    if [ "$(network_state "$dir")" != "$before" ]; then
      say "./dev $step left something behind:"
      diff <(echo "$before") <(network_state "$dir") || true
      status=1
    fi
  done
  return $status
}

if [ "${1:-}" = --inside ]; then
  logs=$2
  inside "${@:3}"
  exit
fi

base_tar='' steps=(demo test) keep=0
while [ $# -gt 0 ]; do
  case $1 in
    --base) base_tar=$(realpath -m "$2"); shift ;;
    --only) steps=("$2"); shift ;;
    --keep) keep=1 ;;
    *) sed -n '3,4p' "$0" >&2; exit 2 ;;
  esac
  shift
done
[ "$(id -u)" -eq 0 ] || die "needs root"
command -v debootstrap > /dev/null || [ -f "$base_tar" ] || die "needs the package debootstrap"

work=$(mktemp -d /var/tmp/lmn-fresh.XXXXXX)
logs=$work/logs
mkdir -p "$logs" "$work/root"
clean() {
  if [ "$keep" -eq 1 ]; then say "kept: $work"; else rm -rf --one-file-system "$work"; fi
}
trap clean EXIT

started=$SECONDS
make_base "$work/root"
packages=$(chroot "$work/root" dpkg-query -W | wc -l)
say "bare Debian 12 with $packages packages in $((SECONDS - started)) s"
git clone -q --no-local "$repository" "$work/root/root/lmn"
say "cloned $(git -C "$work/root/root/lmn" log -1 --format='%h %s')"
started=$SECONDS
# The pid namespace ends every process that a step might leave.
if unshare --mount --pid --fork bash scripts/fresh_machine_test.sh --inside "$logs" "$work/root" \
  "${steps[@]}"; then
  say "passed in $((SECONDS - started)) s"
else
  say "FAILED"
  exit 1
fi
