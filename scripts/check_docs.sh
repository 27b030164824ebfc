#!/bin/sh
# check_docs.sh: documents and comments name what is there. Every folder of sources has a README.md; every
# file name in backquotes in a document, such as `cuda_api.h`, `backend/backend.h` or `check_*.sh`, is a file
# of the tree, and so is every docs/NAME.md that a comment names. `family_x.c` and the like stand for any
# name; CHANGELOG.md is history and is not read, and Python files may be those of other projects.
set -eu
cd "$(dirname "$0")/.."

status=0
for folder in include scripts cmake bench tests $(find src tools -type d); do
    [ -f "$folder/README.md" ] || { echo "docs: $folder has no README.md" >&2; status=1; }
done

files() {
    find . \( -path ./.git -o -path ./build -o -path ./tests/fuzz/corpus \) -prune -o -type f -print | sort
}

# shellcheck disable=SC2016 # the dollars are awk's
files | awk '
{ path[n_paths++] = $0 }
END {
    for (i = 0; i < n_paths; i++) {
        if (path[i] ~ /[.]md$/ && path[i] !~ /CHANGELOG/) read(path[i], "`[^`]*`")
        if (path[i] ~ /^[.][/](src|include|tools|tests).*[.](c|h|cu|def|cpp|sh|bats)$/) read(path[i], "docs/[a-z0-9-]*[.]md")
    }
    if (n_bad) exit 1
    printf "docs: %d names of files in %d documents and sources are there\n", n_names, n_read
}
function read(file, pattern,    line, text, number, name) {
    n_read++
    while ((getline line < file) > 0) {
        number++
        while (match(line, pattern)) {
            name = substr(line, RSTART, RLENGTH)
            line = substr(line, RSTART + RLENGTH)
            gsub(/`/, "", name)
            if (name !~ /^[A-Za-z0-9_.\/*-]+[.](c|h|cu|def|sh|md|bats|html)$/ || name ~ /_x[.]/) continue
            n_names++
            if (!is_there(name)) {
                printf "%s:%d: names %s, which is not there\n", substr(file, 3), number, name
                n_bad++
            }
        }
    }
    close(file)
}
# Whether some path ends in the name; "*" in it is any text, leading "../" are left out.
function is_there(name,    i) {
    sub(/^([.][.]?\/)+/, "", name)
    if (name in known) return known[name]
    name_as_pattern = name
    gsub(/[.]/, "[.]", name_as_pattern)
    gsub(/[*]/, "[^/]*", name_as_pattern)
    for (i = 0; i < n_paths; i++)
        if (path[i] ~ "/" name_as_pattern "$") return known[name] = 1
    return known[name] = 0
}' || status=1
exit "$status"
