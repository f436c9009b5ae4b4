# shellcheck shell=bash
# What the server scripts share. They define launch(), which starts the server with `run`.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bucket=s3-backup-agent-test
dir= # set by main

# Free ports below the range from which the system picks ports for outgoing connections.
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

# With characters that base64 has and URLs do not take, as real ones have them.
new_secret() { python3 -c 'import secrets; print(f"{secrets.token_urlsafe(27)}/+{secrets.token_urlsafe(3)}")'; }

write_env() { # endpoint region key secret
    cat >"$dir/env" <<EOF
export TEST_S3_ENDPOINT=$1 TEST_S3_REGION=$2
export TEST_S3_ACCESS_KEY_ID=$3 TEST_S3_SECRET_ACCESS_KEY=$4
export TEST_S3_BUCKET=$bucket TEST_S3_LOG=$dir/log
EOF
}

# Starts a program in the background, in a process group of its own.
run() {
    setsid "$@" </dev/null >"$dir/log" 2>&1 &
    echo $! >"$dir/pid"
}

# A process that is gone but not yet collected by its parent does not count.
running() { grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$(cat "$dir/pid")/status"; }

# Repeats a command until it succeeds, for a minute at most.
await() {
    local deadline=$((SECONDS + 60))
    until "$@" >"$dir/await.log" 2>&1; do
        running || give_up "the server ended"
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
    mkdir -p "$dir/data"
    trap stop EXIT # unless the end of this function is reached
    launch
    # shellcheck disable=SC1091
    . "$dir/env"
    await request PUT "/$bucket"
    # The bucket may be there before there is room for objects.
    await request PUT "/$bucket/ready" x
    request DELETE "/$bucket/ready"
    trap - EXIT
}

# At once and by force: a graceful end takes SeaweedFS 20 seconds, and the data are not kept.
stop() {
    [[ -f $dir/pid ]] || return 0
    kill -KILL -- "-$(cat "$dir/pid")" 2>/dev/null || true
    while running; do sleep 0.1; done
    rm "$dir/pid"
}

main() {
    if (($# != 2)) || [[ $1 != start && $1 != stop ]]; then
        echo "usage: $(basename "$0") start|stop DIR" >&2
        exit 64
    fi
    mkdir -p "$2"
    dir=$(cd "$2" && pwd)
    "$1"
}
