//! A whole session: what a host and a storage may do, in any order, against the real session over a
//! storage in memory, in virtual time.
#![no_main]

mod books;
mod bucket;
mod choices;
mod player;
mod script;
mod storage;

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use s3_backup_agent::net::fuzzing::install_storage;

use crate::player::Player;
use crate::script::Script;
use crate::storage::{Door, Memory};

fuzz_target!(|script: &[u8]| {
    fastrand::seed(0);
    let memory = Arc::new(Memory::default());
    install_storage(Arc::new(Door(Arc::clone(&memory))));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async { Player::new(memory).play(Script(script)).await });
});
