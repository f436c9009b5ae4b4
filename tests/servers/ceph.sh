#!/usr/bin/env bash
# A throw-away Ceph object gateway with a cluster of one monitor and one OSD, on free loopback ports.
#   ceph.sh install             gets the packages of a Debian release into the cache: 160 MB
#   ceph.sh start [--tls] DIR   starts it with its data in DIR, writes DIR/env and DIR/pid
#   ceph.sh stop DIR            stops it and waits until it is gone
# The packages bring everything they need, including the C library, and nothing is installed. The script
# needs neither root nor a specific Debian release: only apt-get, dpkg-deb, and the Debian mirror that apt
# is configured with; on x86-64.
set -euo pipefail
# shellcheck source=tests/servers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

suite=${CEPH_SUITE:-forky}
tree=$cache/ceph-$suite/root
libraries=$tree/usr/lib/x86_64-linux-gnu

install() {
    [[ ! -e $tree/complete ]] || return 0
    command -v apt-get dpkg-deb >/dev/null || { echo "ceph.sh: needs apt-get and dpkg-deb" >&2 && exit 1; }
    local apt=$cache/ceph-$suite/apt mirror package
    rm -rf "$cache/ceph-$suite"
    mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$tree"
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$')
    echo "deb [arch=amd64] $mirror $suite main" >"$apt/sources.list"
    : >"$apt/status" # as if nothing were installed
    cat >"$apt/apt.conf" <<EOF
Dir::State "$apt"; Dir::State::status "$apt/status"; Dir::State::lists "$apt/lists";
Dir::Cache "$apt"; Dir::Cache::archives "$apt/archives";
Dir::Etc::sourcelist "$apt/sources.list"; Dir::Etc::sourceparts "/dev/null";
APT::Architecture "amd64"; APT::Install-Recommends "false"; APT::Sandbox::User "";
Debug::NoLocking "true"; Acquire::Languages "none";
// A mirror may be a snapshot. The signatures of the release are checked anyway.
Acquire::Check-Valid-Until "false";
EOF
    APT_CONFIG=$apt/apt.conf apt-get update -qq
    APT_CONFIG=$apt/apt.conf apt-get install -qq --download-only radosgw ceph-mon ceph-osd
    for package in "$apt"/archives/*.deb; do dpkg-deb -x "$package" "$tree"; done
    rm -r "$apt"
    touch "$tree/complete"
}

# Runs a program of the packages with the libraries of the packages.
program() { # name
    command=("$libraries/ld-linux-x86-64.so.2" --argv0 "$1"
        --library-path "$libraries:$libraries/ceph" "$tree/usr/bin/$1")
}
call() { # name arguments
    local command
    program "$1"
    "${command[@]}" "${@:2}" </dev/null >>"$dir/log" 2>&1
}
serve() { # name arguments
    local command
    program "$1"
    run "${command[@]}" --conf "$dir/ceph.conf" --foreground "${@:2}"
}
# Runs ceph, which is a Python program, with the Python of the packages.
ceph() { PYTHONHOME=$tree/usr PYTHONPATH=$tree/usr/lib/python3/dist-packages call python3 "$tree/usr/bin/ceph" --conf "$dir/ceph.conf" --connect-timeout 20 "$@"; }
osd_is_up() { ceph osd stat && tail -n 5 "$dir/log" | grep -q '1 up'; }

new_user() { # name key secret [capabilities]
    local command
    program radosgw-admin
    # The output has the secret, so it is not logged.
    "${command[@]}" --conf "$dir/ceph.conf" --name client.rgw user create --uid "$1" \
        --display-name "$1" --access-key "$2" --secret-key "$3" ${4:+--caps "$4"} \
        >"$dir/data/user" 2>>"$dir/log"
}

configure() { # file system id, ports
    local endpoint=endpoint=127.0.0.1:${ports[0]}
    [[ -z $tls ]] || endpoint="ssl_endpoint=127.0.0.1:${ports[0]} ssl_certificate=$dir/tls/server.pem ssl_private_key=$dir/tls/server.key"
    cat >"$dir/ceph.conf" <<EOF
[global]
fsid = $1
mon_host = [v2:127.0.0.1:${ports[1]}/0,v1:127.0.0.1:${ports[2]}/0]
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = $dir/data/keyring
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
ms_bind_port_min = 32000
ms_bind_port_max = 32700
run_dir = $dir/run
admin_socket = 
log_to_file = false
log_to_stderr = true
mon_cluster_log_to_file = false
plugin_dir = $libraries/ceph
erasure_code_dir = $libraries/ceph/erasure-code
osd_class_dir = $libraries/rados-classes
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
osd_crush_chooseleaf_type = 0
mon_max_pg_per_osd = 2000
mon_data_avail_crit = 1
mon_data_avail_warn = 2
[mon]
mon_data = $dir/data/mon
mon_initial_members = a
[osd]
osd_data = $dir/data/osd
osd_objectstore = bluestore
bluestore_block_size = 21474836480
bluestore_block_create = true
osd_memory_target = 1073741824
[client.rgw]
rgw_data = $dir/data/rgw
rgw_frontends = beast $endpoint
rgw_enable_apis = s3,iam
rgw_run_sync_thread = false
rgw_gc_obj_min_wait = 5
rgw_gc_processor_period = 5
rgw_gc_processor_max_time = 60
EOF
}

launch() {
    local ports secret limited fsid osd
    read -ra ports < <(free_ports 3)
    fsid=$(cat /proc/sys/kernel/random/uuid)
    osd=$(cat /proc/sys/kernel/random/uuid)
    mkdir -p "$dir"/{run,data/mon,data/osd,data/rgw}
    configure "$fsid"
    local keys=(ceph-authtool "$dir/data/keyring" --gen-key --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *')
    call "${keys[@]}" --create-keyring --name mon.
    call "${keys[@]}" --name client.admin
    call "${keys[@]}" --name client.rgw
    call "${keys[@]}" --name osd.0
    cp "$dir/data/keyring" "$dir/data/osd/"
    call monmaptool --create --clobber --addv a "[v2:127.0.0.1:${ports[1]},v1:127.0.0.1:${ports[2]}]" \
        --fsid "$fsid" "$dir/data/monmap"
    call ceph-mon --conf "$dir/ceph.conf" --mkfs --id a --monmap "$dir/data/monmap" --keyring "$dir/data/keyring"
    serve ceph-mon --id a
    await ceph osd new "$osd"
    call ceph-osd --conf "$dir/ceph.conf" --mkfs --id 0 --osd-uuid "$osd"
    cp "$dir/data/keyring" "$dir/data/osd/"
    serve ceph-osd --id 0
    await osd_is_up
    call radosgw --version
    secret=$(new_secret)
    limited=$(new_secret)
    write_env "${ports[0]}" default testadmin00000000001 "$secret" \
        "$(sed -n "s/^ceph version \([^ ]*\).*/\1/p" "$dir/log" | tail -n 1)"
    new_user admin testadmin00000000001 "$secret" "user-policy=*"
    new_user limited testlimited000000001 "$limited"
    write_limited_user limited testlimited000000001 "$limited"
    serve radosgw --name client.rgw
}

main "$@"
