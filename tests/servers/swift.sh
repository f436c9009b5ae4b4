#!/usr/bin/env bash
# A throw-away OpenStack Swift with its S3 interface, on free loopback ports.
#   swift.sh install             gets the program from the Python index
#   swift.sh start [--tls] DIR   starts it with its data in DIR, writes DIR/env and DIR/pid
#   swift.sh stop DIR            stops it and waits until it is gone
# The file system of DIR must support extended attributes.
set -euo pipefail
# shellcheck source=tests/servers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

install() { python_packages swift; }

# Starts one of the internal servers, with a ring that has one device.
storage() { # kind port
    local builder=("$programs/swift-ring-builder" "$dir/$1.builder")
    cat >"$dir/$1.conf" <<EOF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $2
user = $(id -un)
swift_dir = $dir
devices = $dir/data
mount_check = false
workers = 0
[pipeline:main]
pipeline = $1-server
[app:$1-server]
use = egg:swift#$1
EOF
    {
        "${builder[@]}" create 4 1 0
        "${builder[@]}" add --region 1 --zone 1 --ip 127.0.0.1 --port "$2" --device disk --weight 1
        "${builder[@]}" rebalance
    } >>"$dir/log"
    run "$programs/swift-$1-server" "$dir/$1.conf" --verbose
}

launch() {
    local ports secret filter tls_settings=
    read -ra ports < <(free_ports 4)
    secret=$(new_secret)
    mkdir -p "$dir/data/disk"
    printf '[swift-hash]\nswift_hash_path_suffix = %s\n' "$(new_hex 8)" >"$dir/swift.conf"
    storage account "${ports[1]}"
    storage container "${ports[2]}"
    storage object "${ports[3]}"
    [[ -z $tls ]] || tls_settings="cert_file = $dir/tls/server.pem
key_file = $dir/tls/server.key"
    cat >"$dir/proxy.conf" <<EOF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${ports[0]}
user = $(id -un)
swift_dir = $dir
workers = 0
$tls_settings
[pipeline:main]
pipeline = catch_errors gatekeeper listing_formats bulk s3api tempauth copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_admin = $secret .admin
EOF
    for filter in catch_errors gatekeeper listing_formats bulk copy slo dlo; do
        printf '[filter:%s]\nuse = egg:swift#%s\n' "$filter" "$filter" >>"$dir/proxy.conf"
    done
    write_env "${ports[0]}" us-east-1 test:admin "$secret" "$(pinned swift swift)"
    run "$programs/swift-proxy-server" "$dir/proxy.conf" --verbose
}

main "$@"
