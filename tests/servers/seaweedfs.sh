#!/usr/bin/env bash
# A throw-away SeaweedFS S3 server on free loopback ports.
#   seaweedfs.sh start DIR   starts it with its data in DIR, writes DIR/env and DIR/pid
#   seaweedfs.sh stop DIR    stops it and waits until it is gone
# The program is $WEED_BIN, or weed from PATH.
set -euo pipefail
# shellcheck source=tests/servers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

launch() {
    local ports secret
    read -ra ports < <(free_ports 8)
    secret=$(new_secret)
    cat >"$dir/s3.json" <<EOF
{"identities": [{
  "name": "admin",
  "credentials": [{"accessKey": "testadmin00000000001", "secretKey": "$secret"}],
  "actions": ["Admin", "Read", "List", "Tagging", "Write"]
}]}
EOF
    write_env "http://127.0.0.1:${ports[0]}" us-east-1 \
        testadmin00000000001 "$secret"
    # Every bucket takes seven volumes, so the limit must be far above the number of buckets.
    run "${WEED_BIN:-weed}" server -dir="$dir/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
        -master.port="${ports[1]}" -master.port.grpc="${ports[2]}" \
        -master.volumeSizeLimitMB=1024 -master.telemetry=false \
        -volume.port="${ports[3]}" -volume.port.grpc="${ports[4]}" \
        -volume.max=400 -volume.minFreeSpace=64MiB -volume.preStopSeconds=1 \
        -filer -filer.port="${ports[5]}" -filer.port.grpc="${ports[6]}" \
        -s3 -s3.port="${ports[0]}" -s3.port.grpc="${ports[7]}" \
        -s3.port.iceberg=0 -s3.port.lance=0 \
        -s3.config="$dir/s3.json" -s3.autoCreateBucket=false
}

main "$@"
