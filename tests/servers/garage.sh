#!/usr/bin/env bash
# A throw-away Garage S3 server on free loopback ports.
#   garage.sh install             builds the program, which takes some minutes, if it is missing
#   garage.sh start [--tls] DIR   starts it with its data in DIR, writes DIR/env and DIR/pid
#   garage.sh stop DIR            stops it and waits until it is gone
# The program is $GARAGE_BIN, or garage from PATH or from the cache.
set -euo pipefail
# shellcheck source=tests/servers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

install() {
    GARAGE_BIN=${GARAGE_BIN:-$(type -P garage || echo "$cache/garage/bin/garage")}
    [[ -x $GARAGE_BIN ]] || cargo install garage --version 2.5.0 --locked --root "$cache/garage" \
        --no-default-features --features bundled-libs,lmdb,sqlite
}

garage() { "$GARAGE_BIN" -c "$dir/garage.toml" "$@"; }

launch() {
    local ports port node key secret version
    key=GK$(new_hex 12)
    secret=$(new_hex 32)
    read -ra ports < <(free_ports 4)
    cat >"$dir/garage.toml" <<EOF
metadata_dir = "$dir/data/meta"
data_dir = "$dir/data/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:${ports[1]}"
rpc_public_addr = "127.0.0.1:${ports[1]}"
rpc_secret = "$(new_hex 32)"
[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:${ports[0]}"
root_domain = ".s3.garage.localhost"
[admin]
api_bind_addr = "127.0.0.1:${ports[2]}"
EOF
    version=$("$GARAGE_BIN" --version | sed 's:^garage [a-z]*\:*\([0-9.]*\).*:\1:')
    port=${ports[0]}
    [[ -z $tls ]] || port=${ports[3]}
    write_env "$port" garage "$key" "$secret" "$version"
    run "$GARAGE_BIN" -c "$dir/garage.toml" server
    tls_front "$port" "${ports[0]}"
    await garage status
    node=$(garage node id -q | cut -d@ -f1)
    {
        garage layout assign -z dc1 -c 100G "$node"
        garage layout apply --version 1
        garage key import --yes -n admin "$key" "$secret"
        garage key allow --create-bucket admin
    } >>"$dir/log"
}

main "$@"
