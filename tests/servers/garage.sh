#!/usr/bin/env bash
# A throw-away Garage S3 server on free loopback ports.
#   garage.sh start DIR   starts it with its data in DIR, writes DIR/env and DIR/pid
#   garage.sh stop DIR    stops it and waits until it is gone
# The program is $GARAGE_BIN, or garage from PATH.
set -euo pipefail
# shellcheck source=tests/servers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

garage() { "${GARAGE_BIN:-garage}" -c "$dir/garage.toml" "$@"; }

launch() {
    local ports node key=GK000000000000000000000001 secret
    secret=$(printf '%064d' 1)
    read -ra ports < <(free_ports 3)
    cat >"$dir/garage.toml" <<EOF
metadata_dir = "$dir/data/meta"
data_dir = "$dir/data/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:${ports[1]}"
rpc_public_addr = "127.0.0.1:${ports[1]}"
rpc_secret = "$secret"
[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:${ports[0]}"
root_domain = ".s3.garage.localhost"
[admin]
api_bind_addr = "127.0.0.1:${ports[2]}"
EOF
    write_env "http://127.0.0.1:${ports[0]}" garage "$key" "$secret"
    run "${GARAGE_BIN:-garage}" -c "$dir/garage.toml" server
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
