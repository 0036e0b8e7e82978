# bash completion for cellar. It asks the program, so it knows every command and flag that the program knows.
_cellar() {
    local word command='' cur=${COMP_WORDS[COMP_CWORD]} program=${COMP_WORDS[0]} usage
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        [[ $word == -* ]] || { command=$word; break; }
    done
    if [[ -z $command ]]; then
        COMPREPLY=($(compgen -W "$("$program" --complete 2>/dev/null) --help --version" -- "$cur"))
    elif [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$("$program" "$command" --complete 2>/dev/null) --help" -- "$cur"))
    else
        # "usage: cellar list methods|spaces": the choices; RECIPE: the recipes; otherwise readline offers files.
        usage=$("$program" "$command" --help 2>/dev/null | sed -n 's/^usage: //p')
        [[ $usage != *RECIPE* ]] || usage+=" $("$program" list recipes 2>/dev/null | sed 's/ .*/|/' | tr -d '\n')"
        COMPREPLY=($(compgen -W "$(tr ' ' '\n' <<<"$usage" | grep '|' | tr '|' '\n')" -- "$cur"))
    fi
}
complete -o default -F _cellar cellar
