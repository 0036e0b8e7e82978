#!/bin/sh
# Writes docs/cli.md from the program's own help and tables: scripts/docs.sh [--check] PROGRAM
# With --check compares instead, shows the difference and fails if there is one.
set -eu
check=no
if [ "${1:-}" = --check ]; then
    check=yes
    shift
fi
program=$(realpath "${1:?usage: scripts/docs.sh [--check] PROGRAM}")
cd "$(dirname "$0")/.."

block() { # a command's output as a code block
    printf '```text\n'
    "$@"
    printf '```\n\n'
}

pages() {
    cat <<'TEXT'
# The command line

This page is written by `scripts/docs.sh` from the program itself; a test compares them.

People read standard error: progress, remarks, errors. Programs read standard output: results, as JSON with `--json`. An error is
one line, `cellar: ` and what failed, where, what was expected, what was found and what to try; with the environment variable
`CELLAR_TRACE=1` the calls that it passed through follow. SIGINT and SIGTERM stop a search after its present step; it writes a
checkpoint first.

TEXT
    block "$program" --help
    for command in $("$program" --complete); do
        printf '## cellar %s\n\n' "$command"
        block "$program" "$command" --help
    done
    cat <<'TEXT'
## Settings of a recipe

Every setting with its default, meaning and range, as `cellar config show` prints them. Which `method` and `space` settings
there are depends on the method and the space that `search` names.

TEXT
    block "$program" config show /dev/stdin <<'RECIPE'
search: {stages: [{}]}
RECIPE
    for kind in methods searchers spaces; do
        printf '### %s\n\n' "$kind"
        block "$program" list "$kind" --settings
    done
}

if [ "$check" = no ]; then
    pages >docs/cli.md.tmp
    mv docs/cli.md.tmp docs/cli.md
    exit
fi
pages | diff -u docs/cli.md -
