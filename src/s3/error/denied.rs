//! Explains a denied request: a missing permission, or a policy that denies it.
//!
//! Most servers only send "Access Denied". AWS, Huawei and Alibaba name the kind of policy, and no grant
//! overrides an explicit deny.

use super::rules::Rules;
use crate::error::{Code, Error};

/// Kinds of policies in messages of AWS, and their names in messages of the agent.
const POLICIES: [(&str, &str); 7] = [
    ("vpc endpoint policy", "the VPC endpoint policy"),
    ("service control policy", "a service control policy of the organization"),
    ("resource control policy", "a resource control policy of the organization"),
    ("permissions boundary", "the permissions boundary of the user"),
    ("session policy", "the session policy"),
    ("resource-based policy", "the bucket policy"),
    ("identity-based policy", "a policy of the user"),
];

impl Rules<'_> {
    pub(super) fn denied(&self) -> Error {
        let bucket = &self.context.bucket;
        let action = self.denied_action().unwrap_or(self.operation.action());
        let key = action.starts_with("kms:");
        let resource = match key {
            true => format!("the key that encrypts the bucket \"{bucket}\""),
            false => format!("the bucket \"{bucket}\""),
        };
        let policy_name =
            POLICIES.iter().find(|(name, _)| self.says(name)).map(|(_, words)| *words);
        let error = |message: String, hint: String| {
            Error::new(Code::AccessDenied, message)
                .hint(hint)
                .field("bucket")
                .detail("action", action)
                .detail("resource", format!("arn:aws:s3:::{bucket}"))
        };
        if self.is_explicit_deny() {
            let policy = match policy_name {
                Some("the bucket policy") if key => "the key policy",
                Some(policy) => policy,
                None => "a policy",
            };
            let message = format!("{policy} forbids {action} on {resource}");
            let hint = format!("check its conditions, such as {}", self.conditions(key));
            return error(message, hint).detail("reason", "explicit_deny");
        }
        let limit = policy_name
            .filter(|policy| !matches!(*policy, "the bucket policy" | "a policy of the user"));
        if let Some(policy) = limit {
            let message = format!("{policy} does not allow {action} on {resource}");
            return error(message, "allow it there".to_owned());
        }
        let may_be_policy = match self.operation.is_write() && !key && self.is_ambiguous() {
            true => {
                "; if they have it, a policy forbids it, such as one that requires encryption \
                 (server_side_encryption)"
            }
            false => "",
        };
        error(
            format!("the keys lack the permission {action} on {resource}"),
            format!("grant it{may_be_policy}"),
        )
    }

    /// Whether the server reports an explicit deny, and not a missing grant.
    fn is_explicit_deny(&self) -> bool {
        self.document.explicit_deny.unwrap_or_else(|| {
            self.says("explicit deny")
                || self.says("explicitly den")
                || (self.says("denied by") && self.says("policy"))
        })
    }

    /// Whether the server does not distinguish the two.
    fn is_ambiguous(&self) -> bool {
        self.document.explicit_deny.is_none()
            && !self.says("polic")
            && !self.says("not allowed for")
    }

    /// Typical conditions of a policy for a request like this one.
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

    /// The permission that AWS names, which may be one for a KMS key.
    fn denied_action(&self) -> Option<&str> {
        let (_, rest) = self.document.message.split_once("not authorized to perform: ")?;
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != ':');
        let action = rest.get(..end.unwrap_or(rest.len()))?;
        (action.contains(':') && action.len() <= 64).then_some(action)
    }
}
