//! Secrets are taken out of texts by their value, wherever the text comes from.
//!
//! Who holds a secret holds a [`Known`]: for as long as one is there, [`redact`] replaces the value
//! by [`MARK`], also where it is percent-encoded, in base64 or hexadecimal, escaped for JSON or XML,
//! or in other case. So a server that repeats a request, a library that quotes one and a setting in
//! the wrong field give nothing away.
//!
//! How long a secret is decides how it is looked for. From 8 bytes on it is taken out anywhere, from
//! 4 on where it stands as a word of its own; shorter ones would black out half of every text, and
//! keep no one out. Where a change would spoil data, only from 32 bytes on: such a value is in no
//! name by chance.

mod spelling;

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock, PoisonError, RwLock, Weak};

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use self::spelling::Forms;

/// What stands in place of a secret.
pub const MARK: &str = "[redacted]";

/// Bytes from which a secret is taken out anywhere.
const LONG: usize = 8;

/// Bytes from which it is taken out as a word.
const SHORTEST: usize = 4;

/// Bytes from which it is in no name by chance.
const UNMISTAKABLE: usize = 32;

/// Variables that hold a secret, whether it is used or not.
const VARIABLES: [&str; 5] = [
    "S3_BACKUP_AGENT_SECRET_ACCESS_KEY",
    "S3_BACKUP_AGENT_SESSION_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
];

/// How a string to sign begins.
const STRING_TO_SIGN: &str = "aws4-hmac-sha256";

/// Hexadecimal digits of a signature, and of what it signs.
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

/// A value that texts must not hold. Forgotten and wiped when its last clone is dropped.
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
    /// Whether only what a server says must not hold it.
    of_servers: bool,
}

impl Known {
    /// A secret: no text holds it.
    #[must_use]
    pub fn secret(text: String) -> Self {
        Self::new(text, false)
    }

    /// The name that goes with a secret: what a server says does not hold it.
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

/// The text without secrets.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    without(text, |value| !value.of_servers)
}

/// The text of a server or a library without secrets, their names, and what was signed. A string to
/// sign reaches to the end of the text, as nothing tells where it ends.
#[must_use]
pub fn redact_served(text: &str) -> Cow<'_, str> {
    match without(text, |_| true) {
        Cow::Borrowed(text) => unsigned(text),
        Cow::Owned(text) => Cow::Owned(unsigned(&text).into_owned()),
    }
}

/// Data without the secrets that cannot be in it by chance.
#[must_use]
pub fn redact_data(text: &str) -> Cow<'_, str> {
    without(text, |value| !value.of_servers && value.text.len() >= UNMISTAKABLE)
}

fn without(text: &str, wanted: impl Fn(&Value) -> bool) -> Cow<'_, str> {
    // They are known from the first text on.
    LazyLock::force(&ENVIRONMENT);
    let known: Vec<_> = {
        let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter_map(Weak::upgrade).collect()
    };
    let mut text = Cow::Borrowed(text);
    for value in known.iter().filter(|value| wanted(value)) {
        let word = value.text.len() < LONG;
        if let Some(redacted) = value.forms.replace(&text, MARK, word) {
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
            unsigned.push_str(MARK);
            from = at;
        }
        digits = 0;
    }
    if from == 0 && start.is_none() {
        return Cow::Borrowed(text);
    }
    unsigned.push_str(kept.get(from..).unwrap_or_default());
    if start.is_some() {
        unsigned.push_str(MARK);
    }
    Cow::Owned(unsigned)
}

/// The password in the address of a proxy, or what stands in place of one.
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
        assert_eq!(redact(&text), format!("before {MARK} behind"));
        drop(clone);
        assert_eq!(redact(&text), text);
    }

    #[test]
    fn short_secret_is_redacted_as_whole_word_only() {
        let _known = ["fo7", "fou7", "seven77"].map(|text| Known::secret(text.to_owned()));
        assert_eq!(
            redact("fo7 (fou7), fou77 xseven77 seven77"),
            format!("fo7 ({MARK}), fou77 xseven77 {MARK}")
        );
    }

    #[test]
    fn key_ids_and_signatures_are_redacted_in_server_text_only() {
        let _name = Known::name("GK31c2f218a2e44f485b94".to_owned());
        let digest = "0123456789abcdefABCDEF".repeat(3);
        let text = format!("No such key: GK31c2f218a2e44f485b94, {digest}.");
        assert_eq!(redact(&text), text);
        assert_eq!(redact_served(&text), format!("No such key: {MARK}, {MARK}."));
        let signed = "wanted 'AWS4-HMAC-SHA256\n20261130T000000Z\n20261130/r/s3/aws4_request\nab'";
        assert_eq!(redact_served(signed), format!("wanted '{MARK}"));
        for plain in ["", "tx00000a-0065f0-default", "no ÄÖ\u{130} AWS4"] {
            assert_eq!(redact_served(plain), plain);
        }
    }

    #[test]
    fn redaction_of_data_removes_only_clear_secrets() {
        let _known = Known::secret("homeassistant-x".to_owned());
        let _token = Known::secret("FwoGZXIvYXdzEBYaDHqa0AP/7k+9=token".to_owned());
        let text = "homeassistant-x.tar FwoGZXIvYXdzEBYaDHqa0AP%2F7k%2B9%3Dtoken";
        assert_eq!(redact_data(text), format!("homeassistant-x.tar {MARK}"));
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
