# shellcheck shell=bash
# What tests/run and tests/newcomer share: the cache, steps and their times, tests that run side by
# side, and servers that are stopped at the end. Source it with the root of the project as the current
# directory.

# Tests must not inherit an input to read, the mode of new files, a language, or variables that the
# programs under test or their tools read. The proxies stay: downloads need them.
exec </dev/null
umask 022
export LC_ALL=C.UTF-8
unset LANGUAGE TZ CDPATH BASH_ENV ENV POSIXLY_CORRECT MYPYPATH NODE_OPTIONS
unset RUST_LOG RUST_BACKTRACE RUST_LIB_BACKTRACE XDG_STATE_HOME CREDENTIALS_DIRECTORY
for inherited in "${!AWS_@}" "${!PYTHON@}" "${!PYTEST_@}" "${!S3_BACKUP_AGENT_@}" "${!TEST_S3_@}" \
    $(git rev-parse --local-env-vars 2>/dev/null || true); do
    [[ $inherited == S3_BACKUP_AGENT_TEST_CACHE ]] || unset "$inherited"
done

cache=${S3_BACKUP_AGENT_TEST_CACHE:-.cache}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
export S3_BACKUP_AGENT_TEST_CACHE=$cache
data=$(mktemp -d "$cache/server.XXXXXX")
export PYTHONPYCACHEPREFIX=$cache/pycache RUFF_CACHE_DIR=$cache/ruff MYPY_CACHE_DIR=$cache/mypy
export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost
export PATH=$PATH:${CARGO_HOME:-${HOME-}/.cargo}/bin
# Directories that are removed at the end.
temporary=("$data")

me=tests/$(basename "$0")
current="preparation"
began='' # when the current step began
track='' # what runs beside other tracks (see side_by_side)
times=$data/times progress=$data/progress failed=$data/failed
declare -A tracks=() # the process groups that run, each with the name of its function
follower=''          # the process that prints their steps

step() {
    end_step
    current=$1 began=$SECONDS
    echo "==> $current"
    [[ -z $track ]] || echo "==> $track: $current" >>"$progress"
}
# Records how long the current step took. With the exit status of the script, also how it ended.
end_step() {
    local took=$((SECONDS - ${began:-$SECONDS})) end=''
    case ${1-0} in
        0) ;;
        130 | 143) end=" (stopped)" ;;
        *) end=" (FAILED)" ;;
    esac
    [[ -z $began ]] || printf '%3d:%02d  %s\n' $((took / 60)) $((took % 60)) "$current$end" >>"$times"
    began=''
}
stop_servers() {
    local running
    for running in "$data"/*; do
        [[ -d $running ]] || continue
        "tests/servers/$(basename "$running").sh" stop "$running" || true
    done
}
finish() {
    local status=$?
    stop_tracks
    stop_servers
    end_step "$status"
    if [[ -s $times ]]; then
        echo "==> times of the steps, in minutes"
        cat "$times"
    fi
    rm -rf "${temporary[@]}"
    ((status == 0)) && echo "==> passed" || echo "$me: FAILED at: $current" >&2
    echo "total time: $((SECONDS / 60)) min $((SECONDS % 60)) s"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs these functions at the same time. Their steps are printed at once, and the rest of the output
# of each when it ends. The first that fails stops the others, and the script.
side_by_side() { # function...
    local name pid status
    if (($# == 1)); then
        "$1"
        return
    fi
    end_step
    : >"$progress"
    tail -f -n +1 --pid=$$ "$progress" &
    follower=$!
    # With job control each track has a process group, which can be stopped as a whole. Without it they
    # would also ignore Ctrl-C, and so would the programs under test.
    set -m
    for name in "$@"; do
        run_track "$name" >"$data/$name.log" 2>&1 &
        tracks[$!]=$name
    done
    set +m
    while ((${#tracks[@]})); do
        status=0
        wait -n -p pid "${!tracks[@]}" || status=$?
        name=${tracks[$pid]}
        # Programs that the track has left in its group.
        kill -KILL -- "-$pid" 2>/dev/null || true
        unset "tracks[$pid]"
        echo "==> output of $name"
        cat "$data/$name.log"
        if ((status)); then
            current=$(cat "$failed" 2>/dev/null || echo "$name")
            exit "$status"
        fi
    done
    stop_follower
}
run_track() { # function
    track=$1 began='' follower='' tracks=()
    data=$(mktemp -d "$cache/server.XXXXXX")
    trap finish_track EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    "$1"
}
finish_track() {
    local status=$?
    stop_servers
    end_step "$status"
    rm -rf "$data"
    ((status == 0)) || echo "$current" >"$failed"
    exit "$status"
}
stop_tracks() {
    local pid deadline=$((SECONDS + 30))
    for pid in "${!tracks[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
    for pid in "${!tracks[@]}"; do
        while kill -0 -- "-$pid" 2>/dev/null && ((SECONDS < deadline)); do
            # A group that has ended is there until its first process is waited for.
            grep -qs '^State:[[:space:]]*Z' "/proc/$pid/status" && break
            sleep 0.2
        done
        kill -KILL -- "-$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    tracks=()
    stop_follower
}
stop_follower() {
    [[ -z $follower ]] || { kill "$follower" && wait "$follower"; } 2>/dev/null || true
    follower=''
}

stop_with() {
    echo "$me: $1" >&2
    exit 1
}

# Puts a Python with the packages of tests/python first on PATH.
python_environment() {
    step "Python packages"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        stop_with "Python 3.11 or newer is needed, as python3"
    python3 -c 'import ensurepip' 2>/dev/null || tests/debian-packages python3-venv
    local requirements=tests/python/requirements.txt venv
    venv=$cache/venv-$(python3 -c 'import sys; print(*sys.version_info[:2], sep=".")')
    # The environment does not work any more if its Python was removed.
    if ! cmp -s "$requirements" "$venv/requirements.txt" || ! "$venv/bin/python" -c '' 2>/dev/null; then
        python3 -m venv --clear "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            --require-hashes --only-binary :all: -r "$requirements"
        cp "$requirements" "$venv/"
    fi
    export PATH=$venv/bin:$PATH
}

# Starts a server with these options, and exports its environment.
start_server() {
    step "start of $1 ${*:2}"
    tests/servers/"$1.sh" start "${@:2}" "$data/$1"
    # Variables of an earlier server must not stay.
    unset "${!TEST_S3_@}"
    # shellcheck disable=SC1090,SC1091
    . "$data/$1/env"
}

# Tests the only wheel of a directory.
wheel_test() {
    step "the wheel where nothing else is installed"
    S3_BACKUP_AGENT_WHEEL=$(ls "$1"/*.whl) python -m pytest -c tests/python/pyproject.toml \
        tests/python/release/test_installed.py
}

# Runs tests with the Home Assistant of this environment, which installs the wheel of this directory.
real_home_assistant() { # environment wheels tests...
    HOME_ASSISTANT_VENV=$cache/home-assistant/$1 HOME_ASSISTANT_WHEELS=$2 \
        "$cache/home-assistant/venv-test/bin/python" -m pytest \
        -c tests/home_assistant/real/pytest.ini "${@:3}"
}
