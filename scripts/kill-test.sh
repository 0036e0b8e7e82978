#!/usr/bin/env bash
# Kills a search 20 times and wants the bytes of an undisturbed one: scripts/kill-test.sh CELLAR [KILLS]
#
# A short search with a prune and a widening runs once in peace. Then the same search is killed (SIGKILL) after random
# times and resumed, each time on another number of threads; every fourth kill waits for a checkpoint to be half
# written, and at least one has to catch it there. What is finished has to equal the undisturbed run: checkpoints and
# genotypes.jsonl to the byte, metrics.jsonl but for time and memory, TensorBoard events in number and size.
set -u
cellar=$(realpath "$1") || exit 2
kills=${2:-20}
cd "$(dirname "$0")/.." || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
RANDOM=${SEED:-$$}
echo "kill-test: $kills kills, SEED=$RANDOM"

search() { # run directory, threads, more flags
    local run=$1 threads=$2
    shift 2
    exec "$cellar" search recipes/demo.yaml --run "$run" --threads "$threads" --quiet "$@" \
        --set data.limit=768 --set train.batch=32 --set space.c=8 --set search.checkpoint_s=0.1 \
        --set search.stages.0.epochs=8 --set search.stages.0.warmup=1 \
        --set search.stages.1.epochs=8 --set search.stages.1.warmup=1
}
now_ms() { echo $(($(date +%s%N) / 1000000)); }
half_written() { compgen -G "$1/checkpoint/*.tmp" >/dev/null; }

started=$(now_ms)
failed() { # why; the search's own words follow
    echo "kill-test: FAILED: $1" >&2
    cat "$work/log" >&2
    exit 1
}
(search "$work/calm" 2 >/dev/null 2>"$work/log") || failed "the undisturbed search"
calm_ms=$(($(now_ms) - started))
echo "kill-test: undisturbed in $calm_ms ms"
most_ms=$((calm_ms * 2 / kills)) # so that about all of them fit into one search
exec {never}<> <(:)
pause_ms() { read -rt "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))" -u "$never"; }

without_time() { sed -E 's/"(seconds|images_per_s|rss_mb|peak_mb)": *[0-9.eE+-]+/"\1": 0/g' "$1"; }
same() { # run directory: the undisturbed one's equal?
    diff -r "$work/calm/checkpoint" "$1/checkpoint" && cmp "$work/calm/genotypes.jsonl" "$1/genotypes.jsonl" &&
        cmp <(without_time "$work/calm/metrics.jsonl") <(without_time "$1/metrics.jsonl") &&
        cmp <(cat "$work"/calm/events.* | wc -c) <(cat "$1"/events.* | wc -c)
}

killed=0 inside=0 runs=0 legs=0
while [ $killed -lt "$kills" ] || [ $inside -eq 0 ]; do
    runs=$((runs + 1))
    run=$work/run$runs
    while :; do
        legs=$((legs + 1))
        (search "$run" $((1 + legs % 4)) --resume >/dev/null 2>"$work/log") &
        pid=$!
        if [ $killed -ge "$kills" ] && [ $inside -gt 0 ]; then
            : # enough: to the end
        elif [ $((killed % 4)) -eq 3 ] || [ $killed -ge "$kills" ]; then
            while kill -0 $pid 2>/dev/null && ! half_written "$run"; do pause_ms 1; done
            kill -KILL $pid 2>/dev/null
        else
            pause_ms $((RANDOM % (most_ms + 1)))
            kill -KILL $pid 2>/dev/null
        fi
        wait $pid 2>/dev/null
        status=$?
        [ $status -eq 137 ] || break
        killed=$((killed + 1))
        if half_written "$run"; then inside=$((inside + 1)); fi
    done
    [ $status -eq 0 ] || failed "going on ended with status $status"
    same "$run" || failed "search $runs differs from the undisturbed one, after $killed kills"
done
echo "kill-test: ok: $killed kills, $inside of them inside the writing of a checkpoint, $legs starts on 1 to 4 threads," \
    "$runs finished searches, all equal to the undisturbed one"
