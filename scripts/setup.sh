#!/bin/sh
# setup.sh: installs the packages that building (run) or testing (test) needs and that are missing.
# Debian and Ubuntu, by apt, with sudo when not root. Does nothing, and needs no network, when all
# is there. Starts from a machine with no compiler at all.
set -eu

usage() {
    cat <<'TEXT'
usage: scripts/setup.sh run|test|fuzz [--list]

  run     what the library and the program need to be built
  test    that, and what the tests need (a second compiler, formatter, test tools)
  fuzz    what scripts/fuzz.sh needs
  --list  print the packages of the set and install nothing
TEXT
}

say() { printf 'setup: %s\n' "$*"; }

# One line per need: how to see that it is there, then the package, alternatives separated by |.
#   cmd:NAME  a command      pc:NAME  a pkg-config module      h:FILE  a header of the system
#   dpkg      the package itself, or one of the alternatives
# A leading ? marks what the build does without.
needs_run='
cmd:cc|gcc             gcc
h:stdio.h              libc6-dev
cmd:make               make
cmd:cmake              cmake
cmd:pkg-config         pkg-config|pkgconf
pc:libcjson            libcjson-dev
pc:libpcre2-8          libpcre2-dev
pc:libutf8proc         libutf8proc-dev
pc:popt                libpopt-dev
?h:dnnl.h              libdnnl-dev|libonednn-dev
?pc:cairo              libcairo2-dev
'
needs_test='
cmd:g++                g++
cmd:clang              clang
cmd:clang-format       clang-format
cmd:clang-tidy         clang-tidy
dpkg                   libomp-dev
dpkg                   libclang-rt-14-dev|libclang-rt-18-dev|libclang-rt-dev
pc:cmocka              libcmocka-dev
cmd:bats               bats
'

# True when the need described by $1 (without ?) is there; $2 is its package.
is_there() {
    case $1 in
    cmd:*)
        for name in $(printf '%s' "${1#cmd:}" | tr '|' ' '); do
            command -v "$name" >/dev/null 2>&1 && return 0
        done
        return 1 ;;
    pc:*) pkg-config --exists "${1#pc:}" 2>/dev/null ;;
    h:*)
        for folder in /usr/include /usr/local/include /usr/include/*-linux-gnu; do
            [ -e "$folder/${1#h:}" ] && return 0
        done
        return 1 ;;
    *)
        for name in $(printf '%s' "$2" | tr '|' ' '); do
            dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'install ok installed' && return 0
        done
        return 1 ;;
    esac
}

# The first of the alternatives in $1 that apt can install; the first of all when apt cannot say.
choose() {
    for package in $(printf '%s' "$1" | tr '|' ' '); do
        if apt-cache policy "$package" 2>/dev/null | grep -q 'Candidate: [0-9]'; then
            printf '%s' "$package"
            return
        fi
    done
    printf '%s' "${1%%|*}"
}

# Runs apt-get with privileges; waits for another apt to end.
apt() {
    set -- apt-get -o DPkg::Lock::Timeout=300 -qq "$@"
    if [ "$(id -u)" -eq 0 ]; then env DEBIAN_FRONTEND=noninteractive "$@"
    else sudo env DEBIAN_FRONTEND=noninteractive "$@"; fi
}

main() {
    set_name=${1:-} list=${2:-}
    case $set_name in
    run) needs=$needs_run ;;
    test | fuzz) needs=$needs_run$needs_test ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
    if [ "$list" = --list ]; then
        printf '%s' "$needs" | awk 'NF { print $2 }'
        exit 0
    fi

    required='' optional='' chosen=''
    while read -r probe packages; do
        [ -n "$probe" ] || continue
        is_there "${probe#\?}" "$packages" && continue
        case $probe in
        \?*) optional="$optional $packages" ;;
        *) required="$required $packages" ;;
        esac
    done <<TEXT
$needs
TEXT
    if [ -z "$required$optional" ]; then
        say "everything needed to $set_name is installed"
        return
    fi
    if ! command -v apt-get >/dev/null 2>&1; then
        say "this is not Debian or Ubuntu; these may be missing:$required$optional"
        return
    fi
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null 2>&1; then
        for package in $required $optional; do chosen="$chosen $(choose "$package")"; done
        say "not root and no sudo: ask an administrator to run: apt-get install$chosen" >&2
        [ -z "$required" ] || exit 1
        return
    fi

    say "missing:$required$optional; installing with apt"
    apt update || say "cannot refresh the package lists; going on with those here"
    for package in $required; do chosen="$chosen $(choose "$package")"; done
    # shellcheck disable=SC2086 # a list of words
    if [ -n "$chosen" ] && ! apt install -y --no-install-recommends $chosen >/dev/null; then
        say "apt could not install:$chosen" >&2
        exit 1
    fi
    for package in $optional; do
        package=$(choose "$package")
        apt install -y --no-install-recommends "$package" >/dev/null ||
            say "$package is not to be had; the build does without"
    done
    say "done"
}

main "$@"
