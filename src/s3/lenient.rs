//! Gives the documents of storages the names that the SDK insists on.
//!
//! The SDK refuses an answer whose root element has another name than that of AWS, although nothing
//! hangs on it, and some storages are sloppy here. On the other hand it does not mind a document
//! that ends too early, which is told here.

use std::io;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;

/// What every root that we read ends with.
const ENDING: &str = "Result";

/// A client whose answers have the right names.
#[derive(Debug)]
pub(super) struct Lenient(pub(super) SharedHttpClient);

impl HttpClient for Lenient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(LenientConnector(self.0.http_connector(settings, components)))
    }
}

#[derive(Debug)]
struct LenientConnector(SharedHttpConnector);

impl HttpConnector for LenientConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Some(root) = root_of(request.method(), request.uri()) else {
            return self.0.call(request);
        };
        let answering = self.0.call(request);
        HttpConnectorFuture::new(async move {
            let mut response = answering.await?;
            if response.status().is_success() {
                let body = response.take_body().collect().await;
                let body = body.map_err(ConnectorError::io)?.to_bytes();
                if is_cut(&body, root) {
                    return Err(ConnectorError::io(
                        io::Error::from(io::ErrorKind::UnexpectedEof).into(),
                    ));
                }
                *response.body_mut() = match renamed(&body, root) {
                    Some(renamed) => {
                        // The SDK holds the body against it.
                        response.headers_mut().remove("content-length");
                        SdkBody::from(renamed)
                    }
                    None => SdkBody::from(body),
                };
            }
            Ok(response)
        })
    }
}

/// The root that the answer to a request should have, without its ending.
fn root_of(method: &str, uri: &str) -> Option<&'static str> {
    let (_, query) = uri.split_once('?')?;
    let asks = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    match method {
        "POST" if asks("uploads") => Some("InitiateMultipartUpload"),
        "POST" if asks("uploadId") => Some("CompleteMultipartUpload"),
        "GET" if asks("uploads") => Some("ListMultipartUploads"),
        "GET" if asks("uploadId") => Some("ListParts"),
        "GET" if asks("prefix") => Some("ListBucket"),
        _ => None,
    }
}

/// Whether the document begins right and has no end. The SDK would take what is there for all, such
/// as a listing of nothing.
fn is_cut(body: &[u8], root: &str) -> bool {
    let text = String::from_utf8_lossy(body);
    let Some(start) = text.find(&format!("<{root}")) else { return false };
    let inside = text.get(start..).unwrap_or_default().trim_end();
    let last_tag = inside.rfind('<').and_then(|tag| inside.get(tag..)).unwrap_or_default();
    let ends = last_tag.starts_with(&format!("</{root}")) || last_tag.starts_with("<!--");
    let is_empty = inside.matches('<').count() == 1 && inside.ends_with("/>");
    !((ends && inside.ends_with('>')) || is_empty)
}

/// The document with the right root, when its own is another that begins in the same way.
fn renamed(body: &[u8], root: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    let start = text.find(&format!("<{root}"))?;
    // Nothing but declarations and comments may come before the root.
    let before = text.get(..start)?;
    if before.matches('<').count() != before.matches("<?").count() + before.matches("<!--").count()
    {
        return None;
    }
    let name = text.get(start + 1..)?.split(|end: char| end.is_whitespace() || "/>".contains(end));
    let name = name.into_iter().next()?;
    let right = format!("{root}{ENDING}");
    if name == right {
        return None;
    }
    let end = text.rfind(&format!("</{name}"))?;
    let (inside, after) =
        (text.get(start + 1 + name.len()..end)?, text.get(end + 2 + name.len()..)?);
    Some(format!("{before}<{right}{inside}</{right}{after}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_initiate(body: &str) -> Option<String> {
        let renamed = renamed(body.as_bytes(), "InitiateMultipartUpload")?;
        Some(String::from_utf8(renamed).unwrap())
    }

    #[test]
    fn only_the_ending_is_put_right() {
        assert_eq!(
            to_initiate("<?xml?>\n<InitiateMultipartUpload xmlns=\"x\"><Key>k</Key></InitiateMultipartUpload>\n")
                .unwrap(),
            "<?xml?>\n<InitiateMultipartUploadResult xmlns=\"x\"><Key>k</Key></InitiateMultipartUploadResult>\n"
        );
        for untouched in [
            "<InitiateMultipartUploadResult></InitiateMultipartUploadResult>",
            "<Error><InitiateMultipartUpload/></Error>",
            "<html></html>",
            "<ListAllMyBucketsResult/>",
            "<InitiateMultipartUpload",
            "",
        ] {
            assert_eq!(to_initiate(untouched), None, "{untouched}");
        }
    }

    #[test]
    fn a_document_without_its_end_is_cut() {
        let whole = "<?xml?><ListBucketResult xmlns=\"x\"><Name>b</Name></ListBucketResult>";
        for end in 8..whole.len() {
            assert_eq!(is_cut(&whole.as_bytes()[..end], "ListBucket"), end >= 18, "{end}");
        }
        for untouched in [
            whole,
            &format!("{whole}\n"),
            &format!("{whole}<!-- > -->"),
            "<ListBucketResult/>",
            "<ListBucket></ListBucket>",
            "<Error><Code>x</Code>",
            "",
        ] {
            assert!(!is_cut(untouched.as_bytes(), "ListBucket"), "{untouched}");
        }
    }

    #[test]
    fn requests_for_objects_are_left_alone() {
        assert_eq!(root_of("GET", "http://h/b/k?x-id=GetObject"), None);
        assert_eq!(root_of("GET", "http://h/b/k"), None);
        assert_eq!(root_of("GET", "http://h/b/?list-type=2&prefix=x"), Some("ListBucket"));
        assert_eq!(root_of("GET", "http://h/b/k?uploadId=1"), Some("ListParts"));
        assert_eq!(root_of("PUT", "http://h/b/k?uploadId=1&partNumber=1"), None);
    }
}
