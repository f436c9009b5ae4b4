#!/usr/bin/env bash
# A throw-away moto server on a free loopback port, which checks signatures and the permissions of users.
#   moto.sh install             gets the program from the Python index
#   moto.sh start [--tls] DIR   starts it with its data in memory, writes DIR/env and DIR/pid
#   moto.sh stop DIR            stops it and waits until it is gone
set -euo pipefail
# shellcheck source=tests/servers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

install() { python_packages moto; }

# Stores the response in `answer`, not in a file: it may have a secret.
iam() { # parameters
    answer=$(request --service iam POST / "Version=2010-05-08&$1")
}
element() { sed -n "s:.*<$1>\([^<]*\)</$1>.*:\1:p" <<<"$answer"; }
new_keys() { # user
    iam "Action=CreateAccessKey&UserName=$1"
    key=$(element AccessKeyId)
    secret=$(element SecretAccessKey)
}

launch() {
    local port answer key secret tls_flags=()
    port=$(free_ports 1)
    [[ -z $tls ]] || tls_flags=(--ssl-cert "$dir/tls/server.pem" --ssl-key "$dir/tls/server.key")
    # The five calls below need no permission: they make the user that has all permissions.
    export INITIAL_NO_AUTH_ACTION_COUNT=5
    run "$programs/moto_server" --host 127.0.0.1 --port "$port" "${tls_flags[@]}"
    local version everything
    version=$(pinned moto moto)
    write_env "$port" us-east-1 none none "$version"
    # shellcheck disable=SC1091
    . "$dir/env"
    await request --service iam POST / "Version=2010-05-08&Action=CreateUser&UserName=admin"
    everything='%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22%2A%22%2C%22Resource%22%3A%22%2A%22%7D%7D'
    iam "Action=PutUserPolicy&UserName=admin&PolicyName=everything&PolicyDocument=$everything"
    iam "Action=CreateUser&UserName=limited"
    new_keys admin
    write_env "$port" us-east-1 "$key" "$secret" "$version"
    new_keys limited
    write_limited_user limited "$key" "$secret" 0
}

main "$@"
