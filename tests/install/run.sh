#!/usr/bin/env bash
# Installs a build below a fresh prefix, moves that, and uses what is there the ways others would: pkg-config (shared
# and static), CMake, the program away from its tree, man pages, completion. run.sh BUILD_DIR CONSUMER_DIR CC
# SANITIZERS
set -eu
build=$1 consumer=$2 cc=$3
flags=(-std=c11 -Wall -Werror ${4:+-fsanitize=$4})
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset CELLAR_DATA
cmake --install "$build" --prefix "$work/first" >"$work/log" || { cat "$work/log"; exit 1; }
mv "$work/first" "$work/prefix"
prefix=$work/prefix
fail() { echo "install: $1" >&2; exit 1; }

expect_consumer() { # how it was built, program
    local out
    out=$(cd / && LD_LIBRARY_PATH=$prefix/lib "$2") || fail "$1: the consumer does not run"
    [[ $out == "$prefix/share/cellar/cifar10-mini"*" 5000" ]] || fail "$1: the consumer says: $out"
    echo "install: $1: ok"
}
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
read -ra shared < <(pkg-config --cflags --libs cellar)
"$cc" "${flags[@]}" "$consumer/consumer.c" "${shared[@]}" -o "$work/shared"
expect_consumer pkg-config "$work/shared"
# The linker takes the shared library where it finds both, so the static one is named by its file.
read -ra static < <(pkg-config --static --cflags --libs cellar | sed "s|-lcellar|$prefix/lib/libcellar.a|g")
"$cc" "${flags[@]}" "$consumer/consumer.c" "${static[@]}" -o "$prefix/bin/consumer"
expect_consumer "pkg-config --static" "$prefix/bin/consumer"
rm "$prefix/bin/consumer"
cmake -S "$consumer" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" \
    -DCMAKE_C_FLAGS="${flags[*]}" >"$work/log" && cmake --build "$work/cmake" >>"$work/log" ||
    { cat "$work/log"; exit 1; }
expect_consumer find_package "$work/cmake/consumer"

cd /
"$prefix/bin/cellar" --version >/dev/null || fail "the program does not run"
"$prefix/bin/cellar" list datasets | grep -q cifar10-mini || fail "cellar list datasets does not know cifar10-mini"
"$prefix/bin/cellar" list recipes | grep -q demo || fail "cellar list recipes does not know demo"
for command in $("$prefix/bin/cellar" --complete); do
    page=$prefix/share/man/man1/cellar-$command.1
    grep -q "^.B cellar $command" "$page" || fail "$page: no synopsis"
    for flag in $("$prefix/bin/cellar" "$command" --complete); do
        grep -q -- "^.B ${flag//-/\\\\-}" "$page" || fail "$page: nothing about $flag"
    done
done
echo "install: the program and its man pages: ok"

PATH=$prefix/bin:$PATH
. "$prefix/share/bash-completion/completions/cellar"
completes() { # wanted word, words typed
    local wanted=$1
    shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    _cellar
    [[ " ${COMPREPLY[*]} " == *" $wanted "* ]] || fail "completion of '$*' gives '${COMPREPLY[*]}', not $wanted"
}
completes fetch cellar fe
completes --dir cellar fetch --d
completes cifar100 cellar fetch cifar
completes demo cellar search d
echo "install: completion: ok"
