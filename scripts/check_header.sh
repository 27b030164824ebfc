#!/bin/sh
# check_header.sh: lacuna.h and lacuna_attention.h compile alone, without warnings, as C11 and as C++17, and names the
# version that CMakeLists.txt does.
set -eu
cd "$(dirname "$0")/.."

check() { # LANGUAGE STANDARD COMPILER...
    language=$1 standard=$2
    shift 2
    for compiler in "$@"; do
        command -v "$compiler" >/dev/null 2>&1 || continue
        for header in lacuna lacuna_attention; do
            echo "#include \"$header.h\"" | "$compiler" -x "$language" -std="$standard" -Wall -Wextra \
                -Wpedantic -Werror -Iinclude -fsyntax-only -
        done
        echo "header: compiles as $standard with $compiler"
        return
    done
    echo "header: no compiler for $language here; $standard was not checked"
}

check c c11 "${CC:-cc}" gcc clang
check c++ c++17 "${CXX:-c++}" g++ clang++

in_header=$(sed -n 's/^#define LAC_VERSION_\(MAJOR\|MINOR\|PATCH\) //p' include/lacuna.h | paste -sd.)
in_build=$(sed -n 's/^project(lacuna VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
if [ -z "$in_build" ] || [ "$in_header" != "$in_build" ]; then
    echo "header: lacuna.h says version $in_header, CMakeLists.txt says $in_build" >&2
    exit 1
fi
echo "header: version $in_header, as in CMakeLists.txt"
