//! Checks the signatures of requests that are rewritten for the embedded server, and signs them
//! again.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningInstructions,
    SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use chrono::NaiveDateTime;
use http::HeaderValue;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderName};
use http::request::Parts;
use sha2::{Digest as _, Sha256};

use super::call::{credential, header};
use crate::connection::recorded_request::hex;

/// The headers of a signature apart from the signed ones.
const OF_SIGNATURES: [&str; 3] = ["authorization", "x-amz-date", "x-amz-content-sha256"];

/// Minutes by which the clock of a client may be wrong.
const MOST_SKEW: i64 = 15;

/// The account keys of the embedded server.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
}

impl Keys {
    /// The code with which AWS refuses a request that was not signed with these keys.
    pub(crate) fn refuse(&self, head: &Parts, content: &[u8]) -> Result<(), &'static str> {
        let Some((key_id, region)) = credential(head) else { return Err("AccessDenied") };
        if key_id != self.access_key_id {
            return Err("InvalidAccessKeyId");
        }
        let date = NaiveDateTime::parse_from_str(header(head, "x-amz-date"), "%Y%m%dT%H%M%SZ");
        let date = date.map_err(|_| "AccessDenied")?.and_utc();
        if (chrono::Utc::now() - date).num_minutes().abs() > MOST_SKEW {
            return Err("RequestTimeTooSkewed");
        }
        let date = date.into();
        let digest = header(head, "x-amz-content-sha256").to_owned();
        let authorization = header(head, "authorization");
        let (_, covered) = authorization.split_once("SignedHeaders=").ok_or("AccessDenied")?;
        let covered: Vec<_> = covered.split(',').next().unwrap_or_default().split(';').collect();
        let right = SignableBody::Precomputed(digest.clone());
        let (_, signature) = self.signature(head, &covered, right, region, date);
        if !authorization.ends_with(&format!("Signature={signature}")) {
            return Err("SignatureDoesNotMatch");
        }
        if digest != hex(&Sha256::digest(content)) {
            return Err("XAmzContentSHA256Mismatch");
        }
        Ok(())
    }

    /// Replaces the signature with one for the rewritten request.
    pub(crate) fn sign(&self, head: &mut Parts, content: &[u8]) {
        head.headers.remove(CONTENT_LENGTH);
        head.headers.remove(AUTHORIZATION);
        let names = head.headers.keys().map(ToString::to_string);
        let names: Vec<_> = names
            .filter(|name| name == HOST.as_str() || name.starts_with("x-amz-"))
            .chain(["content-md5".to_owned()])
            .collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let body = SignableBody::Bytes(content);
        let (instructions, _) = self.signature(head, &names, body, "us-east-1", SystemTime::now());
        let (headers, _) = instructions.into_parts();
        for header in headers {
            let value = HeaderValue::from_str(header.value()).unwrap();
            head.headers.insert(HeaderName::from_static(header.name()), value);
        }
    }

    fn signature(
        &self,
        head: &Parts,
        covered: &[&str],
        body: SignableBody<'_>,
        region: &str,
        time: SystemTime,
    ) -> (SigningInstructions, String) {
        let keys =
            Credentials::new(&self.access_key_id, &self.secret_access_key, None, None, "tests");
        let identity = keys.into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("s3")
            .time(time)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let uri = format!("http://{}{}", header(head, "host"), head.uri.path_and_query().unwrap());
        let covered = covered
            .iter()
            .filter(|name| !OF_SIGNATURES.contains(name) && head.headers.contains_key(**name));
        let headers = covered.map(|name| (*name, header(head, name)));
        let request = SignableRequest::new(head.method.as_str(), uri, headers, body).unwrap();
        sign(request, &parameters).unwrap().into_parts()
    }
}
