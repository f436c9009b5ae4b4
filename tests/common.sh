# shellcheck shell=bash
# What tests/run and tests/stranger share: the cache, steps that are told, servers that are stopped in
# the end. To be sourced where the root of the project is the current folder.

# What tests must not inherit: input to read, rights of new files, a language, and variables that
# programs under test or their tools look at. The proxies stay, for what is downloaded.
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
# Folders that are gone at the end.
temporary=("$data")

me=tests/$(basename "$0")
current="preparation"
step() {
    current=$1
    echo "==> $current"
}
finish() {
    local status=$?
    local running
    for running in "$data"/*; do
        [[ -d $running ]] || continue
        "tests/servers/$(basename "$running").sh" stop "$running" || true
    done
    rm -rf "${temporary[@]}"
    ((status == 0)) && echo "==> passed" || echo "$me: FAILED at: $current" >&2
    echo "total time: $((SECONDS / 60)) min $((SECONDS % 60)) s"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

stop_with() {
    echo "$me: $1" >&2
    exit 1
}

# Python with what the tests in tests/python need, first on PATH.
python_environment() {
    step "Python packages"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        stop_with "Python 3.11 or newer is needed, as python3"
    python3 -c 'import ensurepip' 2>/dev/null || tests/debian-packages python3-venv
    local requirements=tests/python/requirements.txt venv
    venv=$cache/venv-$(python3 -c 'import sys; print(*sys.version_info[:2], sep=".")')
    # It is of no use any more when the Python that it was made with is gone.
    if ! cmp -s "$requirements" "$venv/requirements.txt" || ! "$venv/bin/python" -c '' 2>/dev/null; then
        python3 -m venv --clear "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            --require-hashes --only-binary :all: -r "$requirements"
        cp "$requirements" "$venv/"
    fi
    export PATH=$venv/bin:$PATH
}

# Starts a server, with these options, and takes its environment for ours.
start_server() {
    step "start of $1 ${*:2}"
    tests/servers/"$1.sh" start "${@:2}" "$data/$1"
    # What the one before had and this one has not must not stay.
    unset "${!TEST_S3_@}"
    # shellcheck disable=SC1090,SC1091
    . "$data/$1/env"
}

# The only wheel in a folder, at work.
wheel_test() {
    step "the wheel where nothing else is installed"
    S3_BACKUP_AGENT_WHEEL=$(ls "$1"/*.whl) python -m pytest -c tests/python/pyproject.toml \
        tests/python/release/test_installed.py
}

# These tests with the Home Assistant of this environment, which installs the wheel of this folder.
real_home_assistant() { # environment wheels tests...
    HOME_ASSISTANT_VENV=$cache/home-assistant/$1 HOME_ASSISTANT_WHEELS=$2 \
        "$cache/home-assistant/venv-test/bin/python" -m pytest \
        -c tests/home_assistant/real/pytest.ini "${@:3}"
}
