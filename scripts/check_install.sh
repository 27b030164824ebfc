#!/bin/sh
# check_install.sh BUILD_FOLDER: installs into a scratch folder, then builds and runs an example
# against what is there, as a stranger would: headers, library, pkg-config, man page.
set -eu

[ $# -eq 1 ] || { echo "usage: scripts/check_install.sh BUILD_FOLDER" >&2; exit 2; }
build=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cmake --install "$build" --prefix "$scratch" >"$scratch/log" || { cat "$scratch/log"; exit 1; }
folder=$(dirname "$(find "$scratch" -name lacuna.pc)")
export PKG_CONFIG_PATH="$folder"
flags=$(pkg-config --define-variable=prefix="$scratch" --cflags --libs lacuna)
# shellcheck disable=SC2086 # a list of flags
"${CC:-cc}" -std=c11 -Wall -Werror examples/hello.c -o "$scratch/hello" $flags
library=$(dirname "$(find "$scratch" -name 'liblacuna.so' | head -n 1)")
export LD_LIBRARY_PATH="$library${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
"$scratch/hello" models/nano-f "One of the special magic numbers" >"$scratch/text" 2>/dev/null
grep -q '^One of the special magic numbers' "$scratch/text"
"$scratch/bin/lacuna" --version | head -n 1
find "$scratch" -name lacuna.1 | grep -q . || { echo "install: no man page"; exit 1; }
echo "install: an example builds and runs against the installed library"
