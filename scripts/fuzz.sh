#!/usr/bin/env bash
# Runs every libFuzzer harness of a build for some seconds, two at a time: scripts/fuzz.sh BUILD_DIR SECONDS
# New inputs go to BUILD_DIR/corpus, never into the tree; an input that fails is left in BUILD_DIR, and named.
set -u
cd "$(dirname "$0")/.." || exit 1
build=$1 seconds=$2
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
one() {
    local name=$1 log=$2/$1.log
    mkdir -p "$2/corpus/$name"
    if "$2/fuzz/fuzz_$name" -max_total_time="$3" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="$2/$name-" "$2/corpus/$name" "fuzz/corpus/$name" >"$log" 2>&1; then
        echo "fuzz/$name: ok, $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs"
    else
        echo "fuzz/$name: FAILED, see $log"
        tail -n 25 "$log"
        return 1
    fi
}
export -f one
harnesses=$(ls fuzz/fuzz_*.c 2>/dev/null | sed 's|fuzz/fuzz_||; s|\.c$||')
[ -n "$harnesses" ] || { echo "fuzz: no harnesses" >&2; exit 1; }
echo "$harnesses" | xargs -I{} -P 2 bash -c 'one "$@"' one {} "$build" "$seconds"
