#!/usr/bin/env bash
# What a compiler does not see: scripts/check.sh [--format] [BUILD_DIR]
#
#   layers      a file includes its own layer or an earlier one; the program includes cellar/*.h only
#   calls       no call that is unbounded, unchecked, or not the library's business (printing, exiting)
#   names       C file names are unique in the tree, so that a name says where to look
#   paths       no path of anybody's machine
#   headers     each header compiles alone
#   functions   each exported function is public or used by another file (needs BUILD_DIR, an up-to-date build)
#   format      clang-format would change nothing (with --format)
#
# Prints one line for each offence and each check; fails when there is an offence.
set -u
export LC_ALL=C CC="${CC:-cc}"
cd "$(dirname "$0")/.." || exit 1
format=no
if [ "${1:-}" = --format ]; then
    format=yes
    shift
fi
build=${1:-}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

report() { # the check's name; its offences are in $work/hits, a line each
    local n
    n=$(wc -l <"$work/hits")
    sed "s/^/$1: /" "$work/hits"
    echo "check: $1: $([ "$n" -eq 0 ] && echo ok || echo "$n found")"
    [ "$n" -eq 0 ] || failed=1
}

find include src cli tests bench fuzz -type f \( -name '*.c' -o -name '*.h' \) | sort >"$work/files"

# The order of the layers; nn builds on graph and op, and neither a backend nor the executor knows of it.
awk '
    BEGIN {
        n = split("base math engine/tensor engine/graph engine/op engine/nn engine/backend engine/exec data train " \
                  "nas/arch nas/space nas/eval nas/search lab", layer, " ")
        apart["engine/backend engine/nn"] = apart["engine/exec engine/nn"] = 1
        apart["engine/nn engine/backend"] = apart["engine/nn engine/exec"] = 1
    }
    function layer_of(path,    i) {
        for (i = 1; i <= n; i++) if (index(path, layer[i] "/") == 1) return i
        return 0
    }
    function offence(why) { print file ":" line ": includes \"" name "\", " why }
    {
        file = $0
        for (line = 1; (getline text < file) > 0; line++) {
            if (text !~ /^[ \t]*#[ \t]*include[ \t]*"/) continue
            name = text
            sub(/^[^"]*"/, "", name)
            sub(/".*/, "", name)
            if (name ~ /^cellar\//) continue
            if (file ~ /^include\//) offence("but a public header includes public headers only")
            if (file ~ /^cli\// && name ~ /\//) offence("but the program includes cellar/*.h and its own headers only")
            if (file !~ /^src\//) continue
            mine = layer_of(substr(file, 5))
            its = layer_of(name)
            if (!its) offence("which names no layer; write it from src/ on, like \"base/mem.h\"")
            else if (!mine) offence("but the file itself is in no layer")
            else if (its > mine) offence("but " layer[its] " comes after " layer[mine])
            else if ((layer[mine] " " layer[its]) in apart) offence("but " layer[mine] " does not know " layer[its])
        }
        close(file)
    }' "$work/files" >"$work/hits"
report layers

# The code without comments and strings, as file:line:text.
while read -r file; do
    "$CC" -fpreprocessed -dD -E "$file" 2>/dev/null | awk -v file="$file" '
        /^# [0-9]+ "/ { line = $2 - 1; next }
        { line++; gsub(/"([^"\\]|\\.)*"/, "\"\""); print file ":" line ":" $0 }'
done <"$work/files" >"$work/code"
grep '^src/' "$work/code" | grep -v '^src/base/mem\.c:' >"$work/library"
calls() { # names, file, what is wrong with them
    grep -E "(^|[^A-Za-z0-9_>.])($1)[[:space:]]*\(" "$2" | sed -E "s/[[:space:]]+/ /g; s/\$/   <- $3/"
}
{
    calls 'ato[ifl]|atoll|strcpy|stpcpy|strcat|v?sprintf|gets|strtok|s?rand|random|drand48|system|popen|tmpnam|mktemp' \
        "$work/code" 'unbounded or unchecked'
    calls '[mc]alloc|realloc|strn?dup|v?asprintf|aligned_alloc|posix_memalign' "$work/library" 'cel_alloc and its kin'
    calls 'v?printf|puts|putchar|perror|_?exit|abort' "$work/library" 'the library neither prints nor exits'
    grep -E '[^A-Za-z0-9_](stderr|stdout)[^A-Za-z0-9_]' "$work/library" | sed 's/$/   <- the library does not print/'
} >"$work/hits"
report calls

grep -v '^include/' "$work/files" | sed 's|.*/||' | sort | uniq -d >"$work/hits"
report names

if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git ls-files -co --exclude-standard
else
    find . -type f -not -path './.git/*' -not -path './build*' | sed 's|^\./||'
fi | grep -vE '\.(bin|png|xz|gz|safetensors)$|^fuzz/corpus/|^data/|^tests/golden/' >"$work/texts"
tr '\n' '\0' <"$work/texts" |
    xargs -0 grep -nEIs '(^|[^A-Za-z0-9._~*$}-])/(work|root|home|farm)/[A-Za-z0-9]' >"$work/hits"
report paths

read -ra flags < <(pkg-config --cflags jansson yaml-0.1 sqlite3 libarchive libcurl cmocka 2>/dev/null)
flags+=(-std=c11 -D_GNU_SOURCE -fsyntax-only -Wno-psabi -DCEL_ISA=base -DCEL_ISA_BASE=1)
flags+=(-Iinclude -Isrc -Itests -Icli -Ibench)
grep '\.h$' "$work/files" | xargs -r -I{} -P "$(nproc)" sh -c '
    header=$1 && shift
    printf "#include \"%s\"\n" "${header#*/}" | "$CC" "$@" -x c - 2>&1 | grep -m 1 error | sed "s|^|$header: |"
    ' sh {} "${flags[@]}" >"$work/hits"
report headers

# Objects of deleted sources stay in a build directory, so the list of objects is the build's own.
if [ -n "$build" ]; then
    sed -nE 's/^ *"command": ".* -o ([^ ]+) -c .*/\1/p' "$build/compile_commands.json" | while read -r object; do
        [ -f "$build/$object" ] && nm -P "$build/$object" | awk -v object="$object" '{ print object, $1, $2 }'
    done | sort -u >"$work/symbols"
    [ -s "$work/symbols" ] || { echo "check: no objects in $build: build first" >&2; exit 2; }
    cat include/cellar/*.h | tr -c 'A-Za-z0-9_' '\n' | sort -u >"$work/public"
    awk '
        FILENAME == ARGV[1] { public[$1] = 1; next }
        $3 == "U" { used[$2] = 1; next }
        $3 == "T" && $1 ~ /(src|cli)\// { defined[$2] = $1 }
        END {
            for (name in defined)
                if (!(name in used) && !(name in public) && name != "main" && name !~ /^(_|asan|__)/)
                    print name " (" defined[name] "): static, or of no use"
        }' "$work/public" "$work/symbols" | sed 's/CMakeFiles[^ ]*\.dir\///' | sort >"$work/hits"
    report functions
fi

if [ $format = yes ]; then
    xargs clang-format --dry-run -Werror <"$work/files" 2>&1 | grep 'error:' | sed 's/ code should.*//' | cut -d: -f1 |
        sort | uniq -c | awk '{ print $2 ": " $1 " places; run clang-format -i" }' >"$work/hits"
    report format
fi
exit $failed
