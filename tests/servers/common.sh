# shellcheck shell=bash
unset CDPATH # it changes where `cd` goes, and what it prints
# Functions of the server scripts. Each script defines install(), which gets the program into the
# cache, and launch(), which starts the server with `run` and describes it with `write_env`.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "${S3_BACKUP_AGENT_TEST_CACHE:=$here/../../.cache}"
cache=$(cd "$S3_BACKUP_AGENT_TEST_CACHE" && pwd)
bucket=s3-backup-agent-test
dir= # set by main
tls= # set by main: whether the server is to speak TLS

# Prints free ports below the range from which the system picks ports for outgoing connections.
free_ports() {
    python3 - "$1" <<'EOF'
import random, socket, sys

sockets = []
for port in random.sample(range(20000, 32000), 1000):
    try:
        sockets.append(socket.create_server(("127.0.0.1", port)))
    except OSError:
        continue
    if len(sockets) == int(sys.argv[1]):
        break
print(*(s.getsockname()[1] for s in sockets))
EOF
}

# Prints a secret with characters of base64 that URLs must escape, as in real secrets.
new_secret() { python3 -c 'import secrets; print(f"{secrets.token_urlsafe(27)}/+{secrets.token_urlsafe(3)}")'; }

# Prints this many random bytes, in hexadecimal.
new_hex() { python3 -c 'import secrets, sys; print(secrets.token_hex(int(sys.argv[1])))' "$1"; }

write_env() { # port region key secret version
    local scheme=http
    [[ -z $tls ]] || scheme=https
    cat >"$dir/env" <<EOF
export TEST_S3_ENDPOINT=$scheme://127.0.0.1:$1 TEST_S3_REGION=$2
export TEST_S3_ACCESS_KEY_ID=$3 TEST_S3_SECRET_ACCESS_KEY=$4
export TEST_S3_BUCKET=$bucket TEST_S3_LOG=$dir/log
export TEST_S3_NAME=$(basename "$0" .sh) TEST_S3_VERSION=$5
EOF
    [[ -z $tls ]] || echo "export TEST_S3_CA_CERTIFICATE=$dir/tls/ca.pem" >>"$dir/env"
}

# Describes a user whose permissions are set with the IAM API of the server. It has none at first.
write_limited_user() { # name key secret conditions: 0 if the server does not look at them
    cat >>"$dir/env" <<EOF
export TEST_S3_LIMITED_USER=$1
export TEST_S3_LIMITED_ACCESS_KEY_ID=$2 TEST_S3_LIMITED_SECRET_ACCESS_KEY=$3
export TEST_S3_POLICY_CONDITIONS=${4-1}
EOF
}

# Installs packages of the Python index, pinned by their hashes, into an environment in the cache.
python_packages() { # name
    local requirements=$here/requirements/$1.txt
    programs=$cache/server-$1/bin
    unset PYTHONPYCACHEPREFIX # pip compiles the packages in their own directories
    cmp -s "$requirements" "$programs/../requirements.txt" && return
    python3 -c 'import ensurepip' 2>/dev/null || "$here/../debian-packages" python3-venv
    python3 -m venv --clear "$cache/server-$1"
    "$programs/python" -m pip install --quiet --disable-pip-version-check \
        --require-hashes --only-binary :all: -r "$requirements"
    cp "$requirements" "$programs/../requirements.txt"
}

# Prints the version of a package in the requirements.
pinned() { sed -n "s/^$2==\([^ ]*\).*/\1/p" "$here/requirements/$1.txt"; }

# Makes a certificate for the loopback address, and the CA that signs it, for this run only. It is some
# days old, so that it is valid for an agent whose clock is changed.
certificates() (
    openssl() {
        LD_PRELOAD=/usr/lib/$(uname -m)-linux-gnu/faketime/libfaketime.so.1 \
            FAKETIME=-3d FAKETIME_DISABLE_SHM=1 command openssl "$@"
    }
    new_key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
    mkdir -p "$dir/tls"
    cd "$dir/tls" || exit
    openssl req -x509 "${new_key[@]}" -days 10 -keyout ca.key -out ca.pem -subj "/CN=test authority" \
        -addext keyUsage=critical,keyCertSign
    openssl req "${new_key[@]}" -keyout server.key -out server.csr -subj "/CN=test server"
    printf '%s\n' subjectAltName=IP:127.0.0.1,DNS:localhost extendedKeyUsage=serverAuth >extensions
    openssl x509 -req -days 10 -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial \
        -out server.pem -extfile extensions
) 2>>"$dir/log"

# For servers without TLS: accepts TLS at one port and forwards plain HTTP to another one.
tls_front() { # port behind
    [[ -z $tls ]] || run python3 "$here/tls_front.py" "$dir/tls/server.pem" "$dir/tls/server.key" "$@"
}

# Starts a program in the background, in its own process group, and records its command for `again`.
run() {
    printf '%q ' "$@" >>"$dir/programs"
    echo >>"$dir/programs"
    launched "$@"
}

launched() {
    setsid python3 "$here/default_signals.py" "$@" </dev/null >>"$dir/log" 2>&1 &
    echo $! >>"$dir/pid"
    disown # so that its end by force is no message
}

# Whether a process runs. A process that has ended, but that its parent has not waited for, does not.
runs() { grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$1/status"; }

all_run() {
    local pid
    while read -r pid; do runs "$pid" || return 1; done <"$dir/pid"
}

# Repeats a command until it succeeds, for at most one minute.
await() {
    local deadline=$((SECONDS + 60))
    until "$@" >"$dir/await.log" 2>&1; do
        all_run || give_up "the server ended"
        ((SECONDS < deadline)) || give_up "not ready after a minute: $*"
        sleep 0.2
    done
}

give_up() {
    echo "$(basename "$0"): $1" >&2
    tail -n 20 "$dir/log" "$dir/await.log" >&2 || true
    exit 1
}

request() { python3 "$here/s3_request.py" "$@"; }

start() {
    rm -rf "$dir/data" "$dir/programs"
    mkdir -p "$dir/data"
    : >"$dir/log"
    install
    trap stop EXIT # unless the end of this function is reached
    if [[ -n $tls ]]; then
        "$here/../debian-packages" openssl faketime
        certificates
    fi
    launch
    # shellcheck disable=SC1091
    . "$dir/env"
    await request PUT "/$bucket"
    ready
    trap - EXIT
}

# Waits until objects can be stored: the bucket may exist before that.
ready() {
    await request PUT "/$bucket/ready" x
    request DELETE "/$bucket/ready"
}

# Kills a server if it still runs, and starts it again with the same ports and data.
again() {
    stop
    trap stop EXIT # unless the end of this function is reached
    local program
    while read -r program; do eval "launched $program"; done <"$dir/programs"
    # shellcheck disable=SC1091
    . "$dir/env"
    ready
    trap - EXIT
}

# Kills a server: a graceful stop takes some servers 20 seconds, and the data is not needed.
stop() {
    [[ -f $dir/pid ]] || return 0
    local pid
    while read -r pid; do
        kill -KILL -- "-$pid" 2>/dev/null || true
        while runs "$pid"; do sleep 0.1; done
    done <"$dir/pid"
    rm "$dir/pid"
}

main() {
    [[ "${1-} ${2-}" != "start --tls" ]] || { tls=yes && set -- start "${@:3}"; }
    case "${1-} $#" in
        "install 1") install && return ;;
        "start 2" | "stop 2" | "again 2") ;;
        *) echo "usage: $(basename "$0") install | start [--tls] DIR | again DIR | stop DIR" >&2 && exit 64 ;;
    esac
    mkdir -p "$2"
    dir=$(cd "$2" && pwd)
    "$1"
}
