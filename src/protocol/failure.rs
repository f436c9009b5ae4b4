//! The `error` member of a response.

use serde::{Deserialize, Serialize};

use super::rpc;
use crate::error::{Code, Error, ErrorData};

/// The `error` member of a response.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ErrorObject {
    /// JSON-RPC error code.
    #[cfg_attr(test, schemars(extend("enum" = rpc::ALL)))]
    pub code: i32,
    /// Message in English, for logs.
    pub message: String,
    /// The machine-readable error.
    pub data: ErrorData,
}

impl From<&Error> for ErrorObject {
    fn from(error: &Error) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "only the standard's own faults differ")]
        let code = match error.code() {
            Code::ParseError => rpc::PARSE_ERROR,
            Code::InvalidRequest | Code::DuplicateId => rpc::INVALID_REQUEST,
            Code::MethodNotFound => rpc::METHOD_NOT_FOUND,
            Code::InvalidParams => rpc::INVALID_PARAMS,
            _ => rpc::OPERATION,
        };
        Self { code, message: error.message().to_owned(), data: error.data() }
    }
}
