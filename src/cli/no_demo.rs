//! `demo` in a program that was built without it.

use clap::Args;

use crate::error::{Code, Error};

/// Takes whatever flags the demo has.
#[derive(Args, Clone, Debug)]
pub struct NoDemo {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<String>,
}

/// Says how to run the demo.
pub(super) fn error() -> Error {
    Error::new(Code::InvalidParams, "demo: this program was built without the demo server")
        .hint("in the source code, run `cargo run --features demo -- demo`")
}
