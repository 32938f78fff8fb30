#!/bin/sh
# Says which of the tools named as arguments are missing or too old, all at once, and exits 2 then.
# Without arguments it checks what every make target needs.
set -eu

oldest_go=1.26

have() { command -v "$1" >/dev/null 2>&1; }

# at_least VERSION OLDEST compares versions number by number.
at_least() {
	[ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# problem prints what is wrong with a tool, or nothing.
problem() {
	if ! have "$1"; then
		case $1 in
		go) echo "Go $oldest_go or newer is missing: see https://go.dev/doc/install" ;;
		*) echo "$1 is missing. On Debian: sudo apt-get install -y $1" ;;
		esac
	elif [ "$1" = go ]; then
		# An older go fetches the toolchain that go.mod asks for, unless it is told not to.
		version=$(go env GOVERSION 2>/dev/null) || version="this Go"
		at_least "${version#go}" "$oldest_go" ||
			echo "$version is too old, Tidemill needs $oldest_go: see https://go.dev/doc/install"
	fi
}

[ $# -gt 0 ] || set -- go make git
cd "$(dirname "$0")/.."
status=0
for tool in "$@"; do
	wrong=$(problem "$tool")
	if [ -n "$wrong" ]; then
		printf 'tidemill: %s\n' "$wrong" >&2
		status=2
	fi
done
exit $status
