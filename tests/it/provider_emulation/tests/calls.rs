//! Requests are recognized by their method, their path, their query and their signature.

use http::Request;

use super::super::call::{Call, credential, place};

const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=AKIA/20261120/eu-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=0";

#[test]
fn request_is_recognized_as_its_s3_call() {
    for (method, path, call) in [
        ("GET", "/b/?list-type=2&prefix=a%2F", Call::ListObjectsV2),
        ("GET", "/b?prefix=x", Call::ListObjects),
        ("GET", "/b/?uploads&prefix=x", Call::ListMultipartUploads),
        ("GET", "/b?object-lock", Call::GetObjectLockConfiguration),
        ("GET", "/b?versioning", Call::Other),
        ("GET", "/b/k", Call::GetObject),
        ("GET", "http://proxied.test/b/f/k?x-id=GetObject", Call::GetObject),
        ("GET", "/b/k?uploadId=1", Call::ListParts),
        ("HEAD", "/b/k", Call::HeadObject),
        ("HEAD", "/b", Call::Other),
        ("PUT", "/b", Call::Other),
        ("PUT", "/b/k?x-id=PutObject", Call::PutObject),
        ("PUT", "/b/k?partNumber=1&uploadId=1", Call::UploadPart),
        ("POST", "/b/k?uploads", Call::CreateMultipartUpload),
        ("POST", "/b/k?uploadId=1", Call::CompleteMultipartUpload),
        ("POST", "/b/?delete", Call::DeleteObjects),
        ("DELETE", "/b/k", Call::DeleteObject),
        ("DELETE", "/b/k?uploadId=1", Call::AbortMultipartUpload),
    ] {
        let request = Request::builder().method(method).uri(path).header("authorization", SIGNED);
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(Call::of(&head), call, "{method} {path}");
        assert_eq!(place(&head).0, "b");
        assert_eq!(credential(&head), Some(("AKIA", "eu-1")));
    }
    for (path, call) in [("/k", Call::HeadObject), ("/a/b", Call::HeadObject), ("/", Call::Other)] {
        let request = Request::head(path).header("host", "test-1.s3.example.org");
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert_eq!((Call::of(&head), place(&head).0), (call, "test-1"));
    }
    for path in ["/b?list-type=2", "/b/"] {
        let (head, ()) = Request::builder().uri(path).body(()).unwrap().into_parts();
        assert_eq!(Call::of(&head), Call::UnsignedList);
        assert_eq!(credential(&head), None);
    }
}
