//! Recorded answers that replace those of the emulation.

use http::Response;

use super::call::Call;
use crate::relay::{Body, body};

/// The answer to one call, whatever the request is.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) call: Call,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Once; otherwise every time.
    pub(crate) once: bool,
}

impl Recorded {
    pub(super) fn answer(&self) -> Response<Body> {
        let mut answer = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            answer = answer.header(name, value);
        }
        answer.body(body(self.body.clone())).unwrap()
    }
}
