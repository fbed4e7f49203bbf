# shellcheck shell=bash
# What the scripts of this folder share: strict mode, places, messages, the cache. Sourced, not run.
set -euo pipefail
shopt -s inherit_errexit

testbed=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$testbed/../.." && pwd)
# Everything that is downloaded or built for the tests lies here, outside the checkout, so that a second clone finds it.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/vhublk
# The checkout's links into the cache: the one place where the tests look.
links=$root/.build/testbed
export LC_ALL=C

# Who is not root asks sudo, without a question: a missing right is an error that says so.
as_root() {
    if [[ $(id -u) == 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -n "$@" || fail "needs root: run as root, or allow sudo without a password ($*)"
    else
        fail "needs root, and there is no sudo here: $*"
    fi
}

# shellcheck disable=SC2034 # for the scripts that source this
if [[ -t 1 ]]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' dim='' red='' plain=''
fi

fail() {
    printf '%s%s%s\n' "$red" "error: $*" "$plain" >&2
    exit 1
}

# seconds_since MILLISECONDS: the time since then, to one digit.
milliseconds() { date +%s%3N; }
seconds_since() {
    local now
    now=$(milliseconds)
    printf '%d.%d s' $(((now - $1) / 1000)) $(((now - $1) % 1000 / 100))
}

# step TEXT COMMAND...: runs the command with its output kept aside, prints one line with the time it took, and the output only if it fails.
step() {
    local text=$1 begin log
    shift
    begin=$(milliseconds)
    log=$(mktemp)
    [[ -t 1 ]] && printf '  %s%s ...%s\r' "$dim" "$text" "$plain"
    if "$@" >"$log" 2>&1 </dev/null; then
        printf '  %-62s %s%9s%s\n' "$text" "$dim" "$(seconds_since "$begin")" "$plain"
        rm -f "$log"
    else
        printf '  %s%-62s failed%s\n' "$red" "$text" "$plain"
        tail -n 60 "$log" >&2
        rm -f "$log"
        fail "$text"
    fi
}

# cached NAME SCRIPT [ARGUMENT...]: makes $cache/NAME by running `SCRIPT FOLDER ARGUMENT...` on an empty folder, unless it is there already.
# The folder gets its name only when the script has succeeded, so an interrupted run leaves nothing half made; a lock keeps a second run waiting.
cached() {
    local name=$1 script=$2 lock scratch
    shift 2
    [[ -e $cache/$name ]] && return
    mkdir -p "$cache/locks"
    exec {lock}>"$cache/locks/$name"
    flock "$lock"
    if [[ ! -e $cache/$name ]]; then
        # What an interrupted run left goes, also from under a part of it that still runs; the new folder has a name of its own.
        rm -rf "$cache/.new-$name".*
        scratch=$(mktemp -d "$cache/.new-$name.XXXXXX")
        chmod 755 "$scratch"
        step "$(head -n 3 "$testbed/$script" | sed -n 's/^# step: //p')" bash "$testbed/$script" "$scratch" "$@" {lock}>&-
        mv -T "$scratch" "$cache/$name"
    fi
    exec {lock}>&-
}

# link NAME TARGET: the checkout's link to something of the cache, replaced in one step.
link() {
    mkdir -p "$links"
    ln -sfn "$2" "$links/.$1.$$"
    mv -T "$links/.$1.$$" "$links/$1"
}
