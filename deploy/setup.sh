#!/bin/sh
# Prepares a machine to build Tidemill and to run the real servers it is tested with: checks the
# tools, installs what apt-get can where it may, and downloads the servers. Asks nothing; safe and
# quick to run again. Exits 2 when something is missing that only its owner can install.
set -eu

cd "$(dirname "$0")/.."

oldest_java=17

say() { printf 'setup: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

give_up() {
	say "$*" >&2
	exit 2
}

# java_major prints the version of the Java on the PATH, 0 without one.
java_major() {
	if have java; then
		java -version 2>&1 | sed -n 's/.* version "\([0-9][0-9]*\).*/\1/p' | head -n 1
	else
		echo 0
	fi
}

# missing prints the Debian packages of the tools that are not there.
missing() {
	have git || echo git
	have make || echo make
	have mvn || echo maven
	major=$(java_major)
	[ "${major:-0}" -ge "$oldest_java" ] || echo "openjdk-$oldest_java-jre-headless"
}

# as_root prints how to run a command as root without being asked for a password.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		echo env
	elif [ -n "${CI:-}" ] && have sudo && sudo -n true 2>/dev/null; then
		echo sudo -n env
	fi
}

install() {
	command="apt-get install -y --no-install-recommends $*"
	have apt-get || give_up "missing: $*: install them, or their like on this system, and run make setup again"
	root=$(as_root)
	[ -n "$root" ] || give_up "missing: $*. Run: sudo $command"
	say "installing $*"
	# An index that cannot be refreshed may still be good enough.
	$root DEBIAN_FRONTEND=noninteractive apt-get update -q >/dev/null || say "apt-get update failed; trying with the packages known so far"
	$root DEBIAN_FRONTEND=noninteractive $command >/dev/null || give_up "cannot install $*: run $command to see why"
}

deploy/tools.sh go
say "$(go env GOVERSION)"
packages=$(missing | tr '\n' ' ')
if [ -n "$packages" ]; then
	# Unquoted on purpose: one argument a package.
	# shellcheck disable=SC2086
	install ${packages% }
	packages=$(missing | tr '\n' ' ')
	[ -z "$packages" ] || give_up "still missing after the installation: $packages(is another version first on the PATH?)"
fi
say "git, make, Maven and Java $(java_major) are there"

go run ./cmd/tidemill stack fetch
say "the servers are ready to start: tidemill stack up"
