#!/usr/bin/env bash
# Writes the man pages, cellar.1 and cellar-COMMAND.1, from what the program says of itself: scripts/man.sh CELLAR DIR
# So a page cannot tell of a flag that is not there, nor miss one.
set -eu
cellar=$1 out=$2
mkdir -p "$out"
version=$("$cellar" --version)
escape() { sed 's/\\/\\e/g; s/-/\\-/g; s/^\([.'"'"']\)/\\\&\1/'; }

# Text in roff: a flag ("  --flag VALUE   what it does") or a name in two columns becomes an item, the rest stays as
# it is.
body() {
    awk '
        /^  +[^ ].*  +[^ ]/ {
            line = $0
            sub(/^ +/, "", line)
            at = match(line, /  +/)
            if (at) {
                print ".TP\n.B " substr(line, 1, at - 1) "\n" substr(line, at + RLENGTH)
                item = 1
                next
            }
        }
        /^$/ { print ".PP"; item = 0; next }
        /^  / && !item { print ".br"; print; next }
        { print }'
}

page() { # name, one line, help text on stdin
    local name=$1 about=$2 text usage
    text=$(cat)
    usage=$(sed -n 's/^usage: //p' <<<"$text" | head -n 1)
    {
        printf '.TH %s 1 "" "%s" "cellar"\n.SH NAME\n' "$(tr '[:lower:]' '[:upper:]' <<<"$name" | escape)" "$version"
        printf '%s \\- %s\n.SH SYNOPSIS\n.B %s\n.SH DESCRIPTION\n' "$(escape <<<"$name")" "$(escape <<<"$about")" \
            "$(escape <<<"$usage")"
        sed '/^usage: /d' <<<"$text" | sed '/./,$!d' | escape | body
        printf '.SH SEE ALSO\n%s\n' "$3"
    } >"$out/$name.1"
}

pages=()
while read -r command; do
    about=$("$cellar" --help | sed -n "s/^  $command  *//p" | head -n 1)
    "$cellar" "$command" --help | page "cellar-$command" "$about" '.BR cellar (1)'
    pages+=(".BR cellar\\-$command (1)")
done < <("$cellar" --complete)
"$cellar" --help | sed '1d' | page cellar "finds cell architectures" "$(printf '%s,\n' "${pages[@]}" | sed '$s/,$//')"
