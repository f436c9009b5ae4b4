//! Removes secrets from texts by their value, wherever the text comes from.
//!
//! Each secret is held as a [`Known`]. As long as one exists, [`redact`] replaces its value by
//! [`REDACTED`], including percent-encoded, base64, hexadecimal, JSON-escaped, XML-escaped and differently
//! cased spellings. So a server that repeats a request, a library that quotes one and a setting in the
//! wrong field reveal nothing.
//!
//! The length of a secret decides where it is replaced: from 8 bytes on anywhere, from 4 bytes on as a
//! separate word. Shorter ones would black out half of every text, and protect nothing. In data that must
//! not be damaged, only from 32 bytes on: no name contains such a value by chance.

mod spelling;

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock, PoisonError, RwLock, Weak};

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use self::spelling::Forms;

/// The replacement for a secret.
pub const REDACTED: &str = "[redacted]";

/// Length in bytes from which a secret is replaced anywhere.
const LONG: usize = 8;

/// Length in bytes from which a secret is replaced as a separate word.
const SHORTEST: usize = 4;

/// Length in bytes from which no name contains a secret by chance.
const UNMISTAKABLE: usize = 32;

/// Environment variables that contain a secret, whether the agent uses it or not.
const VARIABLES: [&str; 5] = [
    "S3_BACKUP_AGENT_SECRET_ACCESS_KEY",
    "S3_BACKUP_AGENT_SESSION_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
];

/// The start of a string to sign.
const STRING_TO_SIGN: &str = "aws4-hmac-sha256";

/// Number of hexadecimal digits of a signature, and of the hashes in a string to sign.
const SIGNATURE: usize = 64;

static KNOWN: RwLock<Vec<Weak<Value>>> = RwLock::new(Vec::new());

static ENVIRONMENT: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        if name.to_ascii_lowercase().ends_with("_proxy") {
            return password(&value);
        }
        VARIABLES.contains(&name.as_str()).then_some(value)
    });
    variables.map(Known::secret).collect()
});

/// A value that texts must not contain. It is wiped from memory when its last clone is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Known(Arc<Value>);

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known(..)")
    }
}

#[derive(PartialEq, Eq)]
struct Value {
    text: Zeroizing<String>,
    forms: Forms,
    /// Whether it is removed only from texts of servers.
    of_servers: bool,
}

impl Known {
    /// A secret: removed from all texts.
    #[must_use]
    pub fn secret(text: String) -> Self {
        Self::new(text, false)
    }

    /// The public name of a secret, such as an access key ID: removed from texts of servers.
    #[must_use]
    pub fn name(text: String) -> Self {
        Self::new(text, true)
    }

    fn new(text: String, of_servers: bool) -> Self {
        let forms = Forms::of(if text.len() < SHORTEST { "" } else { &text });
        let value = Arc::new(Value { text: Zeroizing::new(text), forms, of_servers });
        let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|value| value.strong_count() > 0);
        known.push(Arc::downgrade(&value));
        Self(value)
    }

    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0.text
    }
}

/// Removes secrets from a text.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    without(text, |value| !value.of_servers)
}

/// Removes secrets, their names and signed data from a text of a server or a library. A string to
/// sign is removed up to the end of the text, because its end is not marked.
#[must_use]
pub fn redact_served(text: &str) -> Cow<'_, str> {
    match without(text, |_| true) {
        Cow::Borrowed(text) => unsigned(text),
        Cow::Owned(text) => Cow::Owned(unsigned(&text).into_owned()),
    }
}

/// Removes from data the secrets that cannot be in it by chance.
#[must_use]
pub fn redact_data(text: &str) -> Cow<'_, str> {
    without(text, |value| !value.of_servers && value.text.len() >= UNMISTAKABLE)
}

fn without(text: &str, wanted: impl Fn(&Value) -> bool) -> Cow<'_, str> {
    // Loads the secrets of the environment before the first text.
    LazyLock::force(&ENVIRONMENT);
    let known: Vec<_> = {
        let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter_map(Weak::upgrade).collect()
    };
    let mut text = Cow::Borrowed(text);
    for value in known.iter().filter(|value| wanted(value)) {
        let word = value.text.len() < LONG;
        if let Some(redacted) = value.forms.replace(&text, REDACTED, word) {
            text = Cow::Owned(redacted);
        }
    }
    text
}

fn unsigned(text: &str) -> Cow<'_, str> {
    let start = text.to_ascii_lowercase().find(STRING_TO_SIGN);
    let kept = text.get(..start.unwrap_or(text.len())).unwrap_or_default();
    let mut unsigned = String::new();
    let (mut from, mut digits) = (0, 0);
    for (at, byte) in kept.bytes().chain([0]).enumerate() {
        if byte.is_ascii_hexdigit() {
            digits += 1;
            continue;
        }
        if digits >= SIGNATURE {
            unsigned.push_str(kept.get(from..at - digits).unwrap_or_default());
            unsigned.push_str(REDACTED);
            from = at;
        }
        digits = 0;
    }
    if from == 0 && start.is_none() {
        return Cow::Borrowed(text);
    }
    unsigned.push_str(kept.get(from..).unwrap_or_default());
    if start.is_some() {
        unsigned.push_str(REDACTED);
    }
    Cow::Owned(unsigned)
}

/// The password in a proxy URL, or the token in its place.
fn password(address: &str) -> Option<String> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let (login, _) = rest.rsplit_once('@')?;
    let password = login.split_once(':').map_or(login, |(_, password)| password);
    let decoded = percent_decode_str(password).decode_utf8().ok();
    let password = decoded.map_or_else(|| password.to_owned(), Cow::into_owned);
    Some(password).filter(|password| !password.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_redacted_until_last_clone_is_dropped() {
        let secret = "until/the+last/clone";
        let text = format!("before {secret} behind");
        let known = Known::secret(secret.to_owned());
        let clone = known.clone();
        drop(known);
        assert_eq!(redact(&text), format!("before {REDACTED} behind"));
        drop(clone);
        assert_eq!(redact(&text), text);
    }

    #[test]
    fn short_secret_is_redacted_as_whole_word_only() {
        let _known = ["fo7", "fou7", "seven77"].map(|text| Known::secret(text.to_owned()));
        assert_eq!(
            redact("fo7 (fou7), fou77 xseven77 seven77"),
            format!("fo7 ({REDACTED}), fou77 xseven77 {REDACTED}")
        );
    }

    #[test]
    fn key_ids_and_signatures_are_redacted_in_server_text_only() {
        let _name = Known::name("GK31c2f218a2e44f485b94".to_owned());
        let digest = "0123456789abcdefABCDEF".repeat(3);
        let text = format!("No such key: GK31c2f218a2e44f485b94, {digest}.");
        assert_eq!(redact(&text), text);
        assert_eq!(redact_served(&text), format!("No such key: {REDACTED}, {REDACTED}."));
        let signed = "wanted 'AWS4-HMAC-SHA256\n20261130T000000Z\n20261130/r/s3/aws4_request\nab'";
        assert_eq!(redact_served(signed), format!("wanted '{REDACTED}"));
        for plain in ["", "tx00000a-0065f0-default", "no ÄÖ\u{130} AWS4"] {
            assert_eq!(redact_served(plain), plain);
        }
    }

    #[test]
    fn redaction_of_data_removes_only_clear_secrets() {
        let _known = Known::secret("homeassistant-x".to_owned());
        let _token = Known::secret("FwoGZXIvYXdzEBYaDHqa0AP/7k+9=token".to_owned());
        let text = "homeassistant-x.tar FwoGZXIvYXdzEBYaDHqa0AP%2F7k%2B9%3Dtoken";
        assert_eq!(redact_data(text), format!("homeassistant-x.tar {REDACTED}"));
    }

    #[test]
    fn redaction_finds_proxy_passwords() {
        for (address, expected) in [
            ("http://me:s3cr3t%2Fpw@proxy:3128", Some("s3cr3t/pw")),
            ("socks5h://me:with@sign@proxy", Some("with@sign")),
            ("me:plain@proxy:3128", Some("plain")),
            ("https://token@proxy", Some("token")),
            ("http://me:100%@proxy", Some("100%")),
            ("http://proxy:3128", None),
            ("http://me:@proxy", None),
        ] {
            assert_eq!(password(address).as_deref(), expected, "{address}");
        }
    }
}
