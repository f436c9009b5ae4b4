//! The one table of error codes. A code is a stable string of the protocol: codes are added, never
//! renamed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The closed set of causes. A host that does not know a code acts on its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, schemars(rename = "ErrorKind"))]
pub enum Kind {
    /// A setting is wrong; a person must change it.
    Config,
    /// The server is unreachable, or its certificate is not trusted.
    Connect,
    /// The server does not accept the credentials.
    Auth,
    /// The credentials are valid, but do not allow this action.
    Permission,
    /// The requested object does not exist.
    NotFound,
    /// The state of the storage forbids the action.
    Conflict,
    /// Bytes are missing, or differ from the stored ones.
    Integrity,
    /// A temporary failure.
    Transient,
    /// A limit of the server or of the agent is reached.
    Limit,
    /// The request was stopped on purpose.
    Cancelled,
    /// A message broke the rules of the protocol.
    Protocol,
    /// A bug in the agent.
    Internal,
}

macro_rules! codes {
    ($( $(#[$doc:meta])* $variant:ident $name:literal $kind:ident $retryable:literal; )+) => {
        /// A stable error code. Sent as a string; listed in `protocol/errors.json`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[cfg_attr(test, schemars(rename = "ErrorCode"))]
        pub enum Code {
            $( $(#[$doc])* #[serde(rename = $name)] $variant, )+
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )+];

            /// The string that stands for this code on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// The cause this code belongs to.
            #[must_use]
            pub fn kind(self) -> Kind {
                match self { $( Self::$variant => Kind::$kind, )+ }
            }

            /// Whether the same request may succeed later without anybody changing anything.
            #[must_use]
            pub fn retryable(self) -> bool {
                match self { $( Self::$variant => $retryable, )+ }
            }
        }
    };
}

codes! {
    /// A setting has an invalid value.
    InvalidConfig "invalid_config" Config false;
    /// The endpoint is not the address of an S3 service.
    InvalidEndpoint "invalid_endpoint" Config false;
    /// The bucket name breaks the naming rules.
    InvalidBucketName "invalid_bucket_name" Config false;
    /// The server is unreachable.
    CannotConnect "cannot_connect" Connect true;
    /// The certificate of the server is not trusted.
    TlsUntrusted "tls_untrusted" Connect false;
    /// The TLS handshake failed.
    TlsFailed "tls_failed" Connect false;
    /// The server refuses the access key, the signature or the token.
    InvalidCredentials "invalid_credentials" Auth false;
    /// The credentials have expired.
    CredentialsExpired "credentials_expired" Auth false;
    /// The clocks of this machine and of the server differ too much.
    ClockSkew "clock_skew" Auth false;
    /// The credentials lack a permission.
    AccessDenied "access_denied" Permission false;
    /// Object Lock or a retention rule protects the object.
    ObjectLocked "object_locked" Permission false;
    /// The bucket does not exist.
    BucketNotFound "bucket_not_found" NotFound false;
    /// The bucket is in another region.
    WrongRegion "wrong_region" Config false;
    /// The server needs the other addressing style.
    WrongAddressingStyle "wrong_addressing_style" Config false;
    /// The server lacks a feature that the request needs.
    UnsupportedFeature "unsupported_feature" Config false;
    /// The backup or the object does not exist.
    NotFound "not_found" NotFound false;
    /// A backup with this ID exists already.
    AlreadyExists "already_exists" Conflict false;
    /// The object was replaced while it was being read.
    Modified "modified" Conflict false;
    /// The object has to be restored from its storage class before it can be read.
    ColdStorage "cold_storage" Conflict false;
    /// A metadata object cannot be read as one.
    CorruptMetadata "corrupt_metadata" Integrity false;
    /// More or fewer bytes than announced.
    LengthMismatch "length_mismatch" Integrity false;
    /// Bytes differ from the stored or sent ones.
    IntegrityMismatch "integrity_mismatch" Integrity false;
    /// A size exceeds a limit of the server or of the settings.
    TooLarge "too_large" Limit false;
    /// The storage is full or the quota is used up.
    QuotaExceeded "quota_exceeded" Limit false;
    /// The agent already runs as many requests as it can.
    Busy "busy" Limit true;
    /// The server asks to slow down.
    Throttled "throttled" Transient true;
    /// The server failed.
    RemoteError "remote_error" Transient true;
    /// The connection was lost.
    NetworkLost "network_lost" Transient true;
    /// Nothing moved for too long, or the deadline passed.
    Timeout "timeout" Transient true;
    /// The host neither sent nor took data for too long.
    Stalled "stalled" Transient true;
    /// The host canceled the request.
    Cancelled "cancelled" Cancelled false;
    /// The agent is shutting down.
    ShuttingDown "shutting_down" Cancelled true;
    /// A local file or directory cannot be read or written.
    LocalIo "local_io" Config false;
    /// The command that produces the backup failed.
    SourceFailed "source_failed" Config false;
    /// The input is not a valid frame.
    ParseError "parse_error" Protocol false;
    /// The frame is not a valid request.
    InvalidRequest "invalid_request" Protocol false;
    /// The method is unknown.
    MethodNotFound "method_not_found" Protocol false;
    /// A parameter is missing or has a wrong type or value.
    InvalidParams "invalid_params" Protocol false;
    /// The request ID is in use.
    DuplicateId "duplicate_id" Protocol false;
    /// The request came before `initialize`.
    NotInitialized "not_initialized" Protocol false;
    /// The agent does not speak this protocol version.
    UnsupportedProtocol "unsupported_protocol" Protocol false;
    /// The target is not open.
    TargetUnknown "target_unknown" Protocol false;
    /// Stream data arrived at a wrong offset or after its end.
    StreamViolation "stream_violation" Protocol false;
    /// Stream data arrived without credit.
    FlowViolation "flow_violation" Protocol false;
    /// A bug in the agent.
    Internal "internal" Internal false;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_match_the_published_list() {
        let published: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../../protocol/errors.json")).unwrap();
        let ours: Vec<serde_json::Value> = Code::ALL
            .iter()
            .map(|code| {
                serde_json::json!({
                    "code": code.as_str(), "kind": code.kind(), "retryable": code.retryable(),
                })
            })
            .collect();
        let published: Vec<_> = published
            .into_iter()
            .map(|mut entry| {
                entry.as_object_mut().unwrap().retain(|name, _| name != "meaning");
                entry
            })
            .collect();
        assert_eq!(published, ours);
    }
}
