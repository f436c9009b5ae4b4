//! Recorded answers that a personality gives in place of its own.

use http::Response;

use super::call::Call;
use crate::relay::{Body, body};

/// What is answered to one call, whatever is asked.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) call: Call,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Else every time.
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
