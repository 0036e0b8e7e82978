#!/usr/bin/env bash
# Installs what a task needs and this machine lacks: scripts/deps.sh [build] [style] [fuzz] [valgrind] [browser]
# [peer] [tcmalloc]
#
# Each need is a probe and a Debian package. When every probe succeeds, nothing is run and nothing is fetched, so a
# user without rights can build on a prepared machine. Otherwise apt-get installs what is missing: as root, or by sudo
# when that asks for no password; else the script says what to install and fails.
set -u
[ $# -gt 0 ] || set -- build

library() { command -v pkg-config >/dev/null && pkg-config --exists "$1"; }
program() { command -v "$1" >/dev/null; }
compiles() { # compiler and flags; the program comes from stdin
    local out status
    out=$(mktemp) || return 1
    "$@" -x c - -o "$out" >/dev/null 2>&1
    status=$?
    rm -f "$out"
    return $status
}
compiler() { program cc && echo 'int main(void) { return 0; }' | compiles cc; }
fuzzer() {
    program clang &&
        echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n > 9; }' |
        compiles clang -fsanitize=fuzzer,address
}
shared_library() { PATH=$PATH:/sbin:/usr/sbin ldconfig -p | grep -q "lib$1\.so"; }
python_venv() { program python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; }

# task, Debian packages, probe
needs() {
    cat <<'LIST'
build gcc,libc6-dev compiler
build cmake program cmake
build ninja-build program ninja
build pkg-config program pkg-config
build libjansson-dev library jansson
build libyaml-dev library yaml-0.1
build libsqlite3-dev library sqlite3
build libarchive-dev library libarchive
build zlib1g-dev library zlib
build libcurl4-openssl-dev library libcurl
build libcmocka-dev library cmocka
style clang-format program clang-format
fuzz clang,libclang-rt-14-dev fuzzer
valgrind valgrind program valgrind
browser chromium program chromium
peer python3,python3-venv python_venv
tcmalloc libtcmalloc-minimal4 shared_library tcmalloc_minimal
LIST
}

missing=()
while read -r task packages probe; do
    [[ " $* " == *" $task "* ]] || continue
    $probe || IFS=, read -ra missing <<<"$(IFS=,; echo "${missing[*]:+${missing[*]},}$packages")"
done < <(needs)
for task in "$@"; do
    needs | grep -q "^$task " || { echo "deps: no task named '$task'" >&2; exit 2; }
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if program sudo && sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
    else
        echo "deps: missing on this machine: ${missing[*]}" >&2
        echo "deps: as root, run: apt-get install ${missing[*]}" >&2
        exit 1
    fi
fi
program apt-get || { echo "deps: no apt-get here; install what Debian calls: ${missing[*]}" >&2; exit 1; }
echo "deps: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
install=("${as_root[@]}" apt-get -qq -y -o Dpkg::Use-Pty=0 install --no-install-recommends)
# A machine whose package lists are fresh needs no update; one that has none, or stale ones, does.
"${install[@]}" "${missing[@]}" >/dev/null 2>&1 && exit 0
"${as_root[@]}" apt-get -qq update || echo "deps: apt-get update failed; trying with the lists that are there" >&2
if ! "${install[@]}" "${missing[@]}" >/dev/null; then
    echo "deps: apt-get could not install: ${missing[*]}" >&2
    exit 1
fi
