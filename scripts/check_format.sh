#!/bin/sh
# check_format.sh [--fix]: clang-format decides the layout of C; text files have no tabs (makefiles
# and tables of data aside) and no blanks at line ends. Other versions of clang-format lay out some
# lines differently, so only version 14, that of Debian 12, is asked.
set -eu
cd "$(dirname "$0")/.."

formatter=''
for name in clang-format-14 clang-format; do
    if command -v "$name" >/dev/null 2>&1 && "$name" --version | grep -q 'version 14\.'; then
        formatter=$name
        break
    fi
done

c_files() { find include src tools tests examples \( -name '*.[ch]' -o -name '*.cu' \) | sort; }
text_files() {
    find . \( -path ./.git -o -path ./build -o -path ./models -o -path ./tests/fuzz/corpus \
        -o -path ./tests/golden -o -path ./examples/texts -o -path ./train/data \) -prune -o \
        -type f \( -name '*.[ch]' -o -name '*.md' -o -name '*.sh' -o -name '*.bats' -o -name '*.txt' \
        -o -name '*.json' -o -name '*.py' -o -name '*.def' -o -name '*.1' -o -path './.ci/run' \
        -o -path ./run -o -path ./test \) -print | sort
}

if [ "${1:-}" = --fix ]; then
    [ -n "$formatter" ] || { echo "format: clang-format 14 is not installed" >&2; exit 1; }
    c_files | xargs "$formatter" -i
fi

status=0
tab=$(printf '\t')
if text_files | xargs grep -nE "$tab|[ $tab]+\$" /dev/null; then
    echo "format: tabs or blanks at line ends in the lines above"
    status=1
fi
if [ -n "$formatter" ]; then
    c_files | xargs "$formatter" --dry-run -Werror || status=1
    [ "$status" -ne 0 ] || echo "format: $(c_files | wc -l) C files as clang-format 14 lays them out"
else
    echo "format: clang-format 14 is not installed; only tabs and blanks were checked"
fi
exit "$status"
