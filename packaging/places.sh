# shellcheck shell=bash
# For scripts that build a release: `places` has flags of rustc that remove the directories of this machine
# from the binary. Panic messages have the names of source files.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
# shellcheck disable=SC2034
places=("--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
    "--remap-path-prefix=$PWD=/s3-backup-agent" "--remap-path-prefix=$CARGO_TARGET_DIR=/target")
