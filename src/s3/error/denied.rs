//! Why a request is denied: a right that is missing, or a policy that forbids it.
//!
//! Most storages say no more than "Access Denied". AWS, Huawei and Alibaba name the kind of policy,
//! and an explicit deny is not ended by granting anything.

use super::rules::Rules;
use crate::error::{Code, Error};

/// Kinds of policies as AWS names them, and the words for each.
const POLICIES: [(&str, &str); 7] = [
    ("vpc endpoint policy", "the policy of the VPC endpoint"),
    ("service control policy", "a service control policy of the organization"),
    ("resource control policy", "a resource control policy of the organization"),
    ("permissions boundary", "the permissions boundary of the user"),
    ("session policy", "the policy of the session"),
    ("resource-based policy", "the bucket policy"),
    ("identity-based policy", "a policy of the user"),
];

impl Rules<'_> {
    pub(super) fn denied(&self) -> Error {
        let bucket = &self.context.bucket;
        let action = self.denied_action().unwrap_or(self.operation.action());
        let key = action.starts_with("kms:");
        let place = match key {
            true => format!("the key that encrypts the bucket \"{bucket}\""),
            false => format!("the bucket \"{bucket}\""),
        };
        let named = POLICIES.iter().find(|(name, _)| self.says(name)).map(|(_, words)| *words);
        let error = |message: String| {
            Error::new(Code::AccessDenied, message)
                .field("bucket")
                .detail("action", action)
                .detail("resource", format!("arn:aws:s3:::{bucket}"))
        };
        if self.is_forbidden() {
            let policy = match named {
                Some("the bucket policy") if key => "the policy of the key",
                Some(policy) => policy,
                None => "a policy",
            };
            let conditions = self.conditions(key);
            let message = format!(
                "{policy} forbids {action} on {place}: check its conditions, such as {conditions}"
            );
            return error(message).detail("reason", "explicit_deny");
        }
        let limit =
            named.filter(|policy| !matches!(*policy, "the bucket policy" | "a policy of the user"));
        if let Some(policy) = limit {
            return error(format!("{policy} does not allow {action} on {place}: allow it there"));
        }
        let may_be_policy = match self.operation.is_write() && !key && self.says_no_more() {
            true => {
                "; if they have it, a policy forbids it, such as one that demands encryption \
                 (server_side_encryption)"
            }
            false => "",
        };
        error(format!("the keys lack the right {action} on {place}: grant it{may_be_policy}"))
    }

    /// Whether the storage says that a policy forbids it, and not that none allows it.
    fn is_forbidden(&self) -> bool {
        self.document.forbidden.unwrap_or_else(|| {
            self.says("explicit deny")
                || self.says("explicitly den")
                || (self.says("denied by") && self.says("policy"))
        })
    }

    /// Whether it may be either.
    fn says_no_more(&self) -> bool {
        self.document.forbidden.is_none() && !self.says("polic") && !self.says("not allowed for")
    }

    /// What such policies usually demand of a request like this one.
    fn conditions(&self, key: bool) -> &'static str {
        match self.operation.action() {
            _ if key => "the source address or VPC, and the service that uses the key",
            "s3:PutObject" => {
                "encryption (set server_side_encryption to AES256 or aws:kms), the source address \
                 or VPC, TLS (https://), the prefix"
            }
            "s3:DeleteObject" | "s3:AbortMultipartUpload" => {
                "MFA, the source address or VPC, TLS (https://), the prefix"
            }
            _ => "the source address or VPC, TLS (https://), the prefix",
        }
    }

    /// The right that AWS itself names, which may be one on a key of KMS.
    fn denied_action(&self) -> Option<&str> {
        let (_, rest) = self.document.message.split_once("not authorized to perform: ")?;
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != ':');
        let action = rest.get(..end.unwrap_or(rest.len()))?;
        (action.contains(':') && action.len() <= 64).then_some(action)
    }
}
