# shellcheck shell=bash
# For scripts that build a release: `places`, flags of rustc by which it is not seen where that was done.
# Names of files are in the messages of panics.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
# shellcheck disable=SC2034
places=("--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
    "--remap-path-prefix=$PWD=/s3-backup-agent" "--remap-path-prefix=$CARGO_TARGET_DIR=/target")
