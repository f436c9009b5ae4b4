//! The answers of an emulated provider.

use http::{Method, Response, StatusCode};

use super::Traits;
use crate::relay::{Body, body};

/// The refusal of a provider. In the message `{}` stands for its subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: &'static str,
}

/// An error document before it is written.
#[derive(Clone, Debug)]
pub(super) struct ErrorDocument {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn about(&self, what: &str) -> ErrorDocument {
        ErrorDocument {
            status: self.status,
            code: self.code.to_owned(),
            message: self.message.replace("{}", what),
        }
    }
}

impl ErrorDocument {
    /// In the form of a provider, for a request with this method.
    pub(super) fn answer(&self, traits: &Traits, method: &Method) -> Response<Body> {
        let mut answer = Response::builder().status(self.status);
        if method == Method::HEAD {
            if traits.head_says_why {
                answer = answer
                    .header("x-minio-error-code", &self.code)
                    .header("x-minio-error-desc", format!("\"{}\"", self.message));
            }
            return answer.body(body("")).unwrap();
        }
        let mut members = format!("<Code>{}</Code>", self.code);
        if traits.messages {
            members += &format!("<Message>{}</Message>", escaped(&self.message));
        }
        if traits.names_region.when(&self.code) {
            members += &format!("<Region>{}</Region>", traits.region);
        }
        members += "<RequestId>0000000000000001</RequestId>";
        let document =
            format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>{members}</Error>");
        answer.header("content-type", "application/xml").body(body(document)).unwrap()
    }

    /// The error of the embedded server. Its answers to HEAD have no document.
    pub(super) fn read(status: StatusCode, document: &str) -> Self {
        let member = |name| between(document, name).map(unescaped);
        let code = member("Code").unwrap_or_else(|| match status {
            StatusCode::NOT_FOUND => "NoSuchKey".to_owned(),
            StatusCode::PRECONDITION_FAILED => "PreconditionFailed".to_owned(),
            _ => "AccessDenied".to_owned(),
        });
        let message = member("Message").unwrap_or_default();
        Self { status: status.as_u16(), code, message }
    }
}

/// The text of the first element of this name.
pub(super) fn between<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// The document with another text in each element of this name; without the element for `None`.
pub(super) fn rewritten(
    document: &str,
    name: &str,
    text: impl Fn(&str) -> Option<String>,
) -> String {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    let mut pieces = document.split(&start);
    let mut whole = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (old, rest) = piece.split_once(&end).unwrap();
        if let Some(new) = text(old) {
            whole += &format!("{start}{new}{end}");
        }
        whole += rest;
    }
    whole
}

const ENTITIES: [(&str, &str); 5] =
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];

pub(super) fn unescaped(text: &str) -> String {
    ENTITIES.iter().fold(text.to_owned(), |text, (entity, letter)| text.replace(entity, letter))
}

pub(super) fn escaped(text: &str) -> String {
    let backwards = ENTITIES.iter().rev();
    backwards.fold(text.to_owned(), |text, (entity, letter)| text.replace(letter, entity))
}
