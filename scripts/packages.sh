#!/usr/bin/env bash
# Installs what a set of scripts/packages.txt lacks: packages.sh demo|test|check.
#
# Asks for root only for apt-get, and only when something is missing. Says what to install when it
# cannot.
set -euo pipefail
cd "$(dirname "$0")/.."

set_rank() {
  case $1 in
    demo) echo 1 ;;
    test) echo 2 ;;
    check) echo 3 ;;
    *) echo "packages.sh: unknown set '$1': demo, test or check" >&2; exit 2 ;;
  esac
}

wanted_packages() {
  local wanted package set _
  wanted=$(set_rank "$1")
  while read -r package set _; do
    case $package in '' | '#'*) continue ;; esac
    if [ "$(set_rank "$set")" -le "$wanted" ]; then echo "$package"; fi
  done < scripts/packages.txt
}

is_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

run_apt() {
  # No questions, and no pseudo terminal, so that the output stays readable in a log.
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 "$@" < /dev/null
}

rank_check=$(set_rank "${1:?usage: packages.sh demo|test|check}")
[ "$rank_check" -ge 1 ]
if ! command -v dpkg-query > /dev/null; then
  echo "lmn: not a Debian system: packages are not checked (scripts/packages.txt lists them)" >&2
  exit 0
fi
missing=()
for package in $(wanted_packages "$1"); do
  is_installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=''
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo > /dev/null; then
    echo "lmn: missing packages, and neither root nor sudo to install them; as root run:" >&2
    echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  as_root=sudo
fi

echo "lmn: installing ${#missing[@]} packages: ${missing[*]}"
started=$SECONDS
mkdir -p build
log=build/packages.log
: > "$log"
fail() {
  tail -n 30 "$log" >&2
  echo "lmn: $1 failed ($log)" >&2
  exit 1
}
install_missing() { run_apt install --no-install-recommends "${missing[@]}" >> "$log" 2>&1; }
# Lists may be absent (a fresh machine) or too old (a file is gone from the mirror): then, and only
# then, fetch them.
if ! apt-cache show "${missing[@]}" > /dev/null 2>&1 || ! install_missing; then
  echo "lmn: fetching package lists"
  run_apt update >> "$log" 2>&1 || fail "apt-get update"
  install_missing || fail "apt-get install"
fi
echo "lmn: packages installed in $((SECONDS - started)) s"
