# shellcheck shell=bash
# Functions of prove-static and prove-windows: two servers, one with TLS, a proxy, and the tasks of an
# agent. `program` is the command that starts the agent, `clean` the options of env for that, `settings`
# its environment, and `machine` the name of the machine in messages.

work=$(mktemp -d)
program=() clean=() settings=() machine=''
# Prints its address first, then each request.
exec 3< <(PYTHONPATH=tests/servers exec python3 packaging/connect_proxy.py)
proxy_pid=$!
end() {
    kill "$proxy_pid" 2>/dev/null || true
    for scheme in http https; do tests/servers/seaweedfs.sh stop "$work/$scheme"; done
    rm -rf "$work"
}
trap end EXIT
tests/servers/seaweedfs.sh start "$work/http"
tests/servers/seaweedfs.sh start --tls "$work/https"
head -c 40M /dev/urandom >"$work/data"
read -r proxy <&3

proven() { echo "$machine: $*"; }
failed() { echo "$machine: FAILED: $*" >&2 && exit 1; }

storage() { # scheme host: which the agent is to use from now on
    # shellcheck disable=SC1090,SC1091
    . "$work/$1/env"
    endpoint=$1://$2:${TEST_S3_ENDPOINT##*:}
    settings=(
        S3_BACKUP_AGENT_ENDPOINT="$endpoint" S3_BACKUP_AGENT_BUCKET="$TEST_S3_BUCKET"
        S3_BACKUP_AGENT_ACCESS_KEY_ID="$TEST_S3_ACCESS_KEY_ID"
        S3_BACKUP_AGENT_SECRET_ACCESS_KEY="$TEST_S3_SECRET_ACCESS_KEY"
        S3_BACKUP_AGENT_REGION="$TEST_S3_REGION" S3_BACKUP_AGENT_ADDRESSING_STYLE=path
        S3_BACKUP_AGENT_PREFIX="$machine"
    )
}

limit=600 # seconds after which something hangs
agent() { timeout "$limit" env "${clean[@]}" "${settings[@]}" "${program[@]}" "$@"; }

starts() {
    local said
    said=$(agent --version)
    [[ ${said%$'\r'} == "s3-backup-agent $(packaging/version.py)" ]] || failed "another version: $said"
    proven "starts"
}

there_and_back() {
    agent upload - --id proof --name proof <"$work/data"
    [[ $(agent list) == *proof* ]] || failed "it is not listed"
    agent download proof -o - | cmp - "$work/data" || failed "something else came back"
    agent delete --yes proof
    [[ $(agent list --json) != *proof* ]] || failed "it is still there"
    proven "uploaded, listed, downloaded and deleted at $endpoint"
}

cannot_connect() { # reason command...
    local reason=$1 code=0 begin=$SECONDS
    limit=60 "${@:2}" >"$work/said" 2>&1 || code=$?
    [[ $code == 6 && $(<"$work/said") == *"$reason"* ]] ||
        failed "exit code $code: $(<"$work/said")"
    proven "exit code 6 after $((SECONDS - begin)) s: $(<"$work/said")"
}

through_the_proxy() {
    settings+=(HTTPS_PROXY="http://$proxy")
    agent list
    read -rt 60 proxied <&3 || failed "the proxy was not used"
    proven "HTTPS_PROXY is honoured: the proxy was asked for $proxied"
}

conformance() { # options of the kit...
    python3 - "$endpoint" >"$work/target.json" <<'END'
import json, os, sys

config = {"type": "s3", "endpoint": sys.argv[1], "addressing_style": "path", "prefix": "kit"}
for name in ("region", "access_key_id", "secret_access_key", "bucket"):
    config[name] = os.environ[f"TEST_S3_{name.upper()}"]
print(json.dumps(config))
END
    python3 protocol/conformance/conform.py agent --config "$work/target.json" "$@" -- \
        env "${clean[@]}" "${program[@]}" serve >"$work/kit" ||
        failed "the conformance kit: $(grep -A 12 '^not ok' "$work/kit")"
    proven "conforms: $(grep -c '^ok' "$work/kit") checks"
}
