# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts beside it: where things are, how to say what happens.
# shellcheck shell=bash

# The checkout, and the folder for what is fetched or made once (kernel, root file systems).
MSB_SRC=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
MSB_CACHE=${MSB_CACHE:-$MSB_SRC/.cache}

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# step TEXT COMMAND... - run the command and say how long it took; on failure stop with its status
step() {
	local text=$1 start=${EPOCHREALTIME/[.,]/} rc=0 ms
	shift
	"$@" || rc=$?
	ms=$(((${EPOCHREALTIME/[.,]/} - start) / 1000))
	((rc == 0)) || die "$text failed after $(seconds "$ms")"
	printf '%9s  %s\n' "$(seconds "$ms")" "$text"
}

seconds() { # MILLISECONDS - as text
	printf '%d.%03d s' $(($1 / 1000)) $(($1 % 1000))
}

is_debian() { [[ -x /usr/bin/dpkg-query && -x /usr/bin/apt-get ]]; }
