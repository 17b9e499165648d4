#!/usr/bin/env bash
# conformance xdpfilt: the XDP objects of Debian's libxdp1, unmodified, on 10,000 packets each with
# filled maps, against the kernel's test run. Prints verdict shares and the share of instructions
# executed; exit status 0: all equal, each verdict at least 10 %, at least 95 % executed.
set -euo pipefail
cd "$(dirname "$0")/../.."
./dev build lmn_xdpfilt_test
exec build/dev/tests/system/lmn_xdpfilt_test
