#!/usr/bin/env bash
# Kills a search 20 times and wants the bytes of an undisturbed one: scripts/kill-test.sh CELLAR [KILLS]
#
# A short search with a prune and a widening runs once in peace. Then the same search is killed (SIGKILL) after random times
# and resumed, each time on another number of threads; every fourth kill waits for a checkpoint to be half written, and at least
# one has to catch it there. What is finished has to equal the undisturbed run: checkpoints and genotypes.jsonl to the byte,
# metrics.jsonl but for time and memory, TensorBoard events in number and size.
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
(search "$work/calm" 2) || { echo "kill-test: the undisturbed search failed" >&2; exit 1; }
calm_ms=$(($(now_ms) - started))
echo "kill-test: undisturbed in $calm_ms ms"

without_time() { sed -E 's/"(seconds|images_per_s|rss_mb|peak_mb)": *[0-9.eE+-]+/"\1": 0/g' "$1"; }
same() { # run directory: the undisturbed one's equal?
    diff -r "$work/calm/checkpoint" "$1/checkpoint" && cmp "$work/calm/genotypes.jsonl" "$1/genotypes.jsonl" &&
        cmp <(without_time "$work/calm/metrics.jsonl") <(without_time "$1/metrics.jsonl") &&
        cmp <(cat "$work"/calm/events.* | wc -c) <(cat "$1"/events.* | wc -c)
}

done_kills=0 inside=0 runs=0 legs=0
while [ $done_kills -lt "$kills" ] || [ $inside -eq 0 ]; do
    runs=$((runs + 1))
    run=$work/run$runs
    while :; do
        legs=$((legs + 1))
        resume=--resume
        [ -e "$run" ] || resume=
        (search "$run" $((1 + legs % 4)) $resume 2>"$work/log") &
        pid=$!
        if [ $((done_kills % 4)) -eq 3 ] || [ $done_kills -ge "$kills" ]; then
            # shellcheck disable=SC2086
            while kill -0 $pid 2>/dev/null && ! half_written "$run"; do :; done
        else
            sleep "$(printf '0.%03d' $((RANDOM % (1 + (calm_ms * 3 / 2 / kills < 999 ? calm_ms * 3 / 2 / kills : 999)))))"
        fi
        kill -KILL $pid 2>/dev/null
        wait $pid 2>/dev/null
        status=$?
        if [ $status -eq 137 ]; then
            done_kills=$((done_kills + 1))
            if half_written "$run"; then inside=$((inside + 1)); fi
            continue
        fi
        [ $status -eq 0 ] || { echo "kill-test: resuming failed with $status:" >&2; cat "$work/log" >&2; exit 1; }
        break
    done
    same "$run" || { echo "kill-test: FAILED: run $runs differs from the undisturbed one after $done_kills kills" >&2; exit 1; }
done
echo "kill-test: ok: $done_kills kills, $inside of them inside the writing of a checkpoint, $legs starts on 1 to 4 threads," \
    "$runs finished searches, all equal to the undisturbed one"
