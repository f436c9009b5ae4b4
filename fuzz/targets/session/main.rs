//! A whole session: the actions of a host and a server, in any order, with the real session and a
//! server in server, in virtual time.
#![no_main]

mod bucket;
mod choices;
mod player;
mod script;
mod server;
mod session_record;

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use s3_backup_agent::net::fuzzing::install_storage;

use crate::player::Player;
use crate::script::Script;
use crate::server::{MemoryServer, Transport};

fuzz_target!(|script: &[u8]| {
    fastrand::seed(0);
    let server = Arc::new(MemoryServer::default());
    install_storage(Arc::new(Transport(Arc::clone(&server))));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async { Player::new(server).play(Script(script)).await });
});
