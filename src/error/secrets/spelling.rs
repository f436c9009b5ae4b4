//! Finds a value in a text in all spellings.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use zeroize::Zeroizing;

/// Minimum number of base64 characters that encode only the value.
const LEAST_ENCODED: usize = 8;

/// Length of the pieces that the quick check searches for.
const PIECE: usize = 6;

/// A value and its spellings.
#[derive(PartialEq, Eq)]
pub(super) struct Forms {
    plain: Zeroizing<String>,
    /// Hexadecimal, and base64 after none, one or two other bytes.
    encoded: Vec<Zeroizing<String>>,
}

impl Forms {
    pub(super) fn of(value: &str) -> Self {
        let mut encoded = Vec::new();
        if !value.is_empty() {
            let hexadecimal: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
            encoded.push(Zeroizing::new(hexadecimal.to_ascii_uppercase()));
            encoded.push(Zeroizing::new(hexadecimal));
            for before in 0..3 {
                let bytes = Zeroizing::new([&vec![0; before], value.as_bytes()].concat());
                // The first and last characters also encode bits of the neighbors.
                let (start, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
                for engine in [BASE64_STANDARD, BASE64_URL_SAFE] {
                    let whole = Zeroizing::new(engine.encode(&bytes));
                    let core = Zeroizing::new(whole.get(start..end).unwrap_or_default().to_owned());
                    if core.len() >= LEAST_ENCODED && !encoded.contains(&core) {
                        encoded.push(core);
                    }
                }
            }
        }
        Self { plain: Zeroizing::new(value.to_owned()), encoded }
    }

    /// Replaces each spelling of the value by `mark`; as a `word`, only without letters or digits
    /// around it. `None` when the text does not contain it.
    pub(super) fn replace(&self, text: &str, mark: &str, word: bool) -> Option<String> {
        let mut replaced = None;
        let around = |byte: u8| word && byte.is_ascii_alphanumeric();
        let plain = |text: &str| {
            replace(text, &self.plain, mark, |text, start, end| {
                let before = start.checked_sub(1).and_then(|at| text.get(at));
                let outside = before.into_iter().chain(text.get(end));
                (!outside.copied().any(around)).then_some((start, end))
            })
        };
        if let Some(changed) = plain(text) {
            replaced = Some(changed);
        }
        for form in &self.encoded {
            let text = replaced.as_deref().unwrap_or(text);
            if !may_hold(text, form) {
                continue;
            }
            // The adjacent base64 characters are part of the encoded text.
            let changed = replace(text, form, mark, |text, start, end| {
                let in_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
                let before = text.iter().take(start).rev().take_while(|byte| in_base64(byte));
                let after = text.iter().skip(end).take_while(|byte| in_base64(byte));
                Some((start - before.count(), end + after.count()))
            });
            if changed.is_some() {
                replaced = changed;
            }
        }
        replaced
    }
}

/// Quick check whether the text may contain `encoded`. Most texts are long listings that do not.
fn may_hold(text: &str, encoded: &str) -> bool {
    let pieces = encoded.split(|letter: char| !letter.is_ascii_alphanumeric());
    let pieces: Vec<_> = pieces.filter(|piece| piece.len() >= PIECE).collect();
    // A line break may be inside a piece.
    let some = [pieces.first(), pieces.get(pieces.len() / 2), pieces.last()];
    let starts = some.into_iter().flatten().flat_map(|piece| {
        [piece.get(..PIECE), piece.get(piece.len() - PIECE..)].into_iter().flatten()
    });
    pieces.is_empty() || starts.into_iter().any(|start| text.contains(start))
}

/// Replaces each spelling of `wanted` by `mark`, in the range that `reach` returns.
fn replace(
    text: &str,
    wanted: &str,
    mark: &str,
    reach: impl Fn(&[u8], usize, usize) -> Option<(usize, usize)>,
) -> Option<String> {
    let (bytes, wanted) = (text.as_bytes(), wanted.as_bytes());
    let first = *wanted.first()?;
    let mut replaced = String::new();
    let (mut from, mut at) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        let may_begin = byte.eq_ignore_ascii_case(&first) || b"%&\\".contains(byte);
        let found = if may_begin { end_of(bytes, at, wanted) } else { None };
        match found.and_then(|end| reach(bytes, at, end)) {
            Some((start, end)) => {
                replaced.push_str(text.get(from..start.max(from)).unwrap_or_default());
                replaced.push_str(mark);
                (from, at) = (end, end.max(at + 1));
            }
            None => at += 1,
        }
    }
    if from == 0 {
        return None;
    }
    replaced.push_str(text.get(from..).unwrap_or_default());
    Some(replaced)
}

/// The end of a spelling of `wanted` that begins at `at`.
fn end_of(text: &[u8], at: usize, wanted: &[u8]) -> Option<usize> {
    let text = text.get(at..)?;
    let rest = walk(text, wanted)?;
    Some(at + text.len() - rest.len())
}

/// The text after the whole of `wanted`.
fn walk<'a>(mut text: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    for (index, byte) in wanted.iter().enumerate() {
        if index > 0 && after(text, *byte).is_none() {
            // Long values may contain line breaks.
            text = after_breaks(text);
        }
        text = match (after(text, *byte), after_escape(text, *byte)) {
            // A value may itself look like an escape.
            (Some(plain), Some(escaped)) => {
                let others = wanted.get(index + 1..)?;
                return walk(plain, others).or_else(|| walk(escaped, others));
            }
            (plain, escaped) => plain.or(escaped)?,
        };
    }
    Some(text)
}

/// The text after leading line breaks. A loop, because a server may send millions.
fn after_breaks(mut text: &[u8]) -> &[u8] {
    loop {
        text = match text {
            [first, rest @ ..] if first.is_ascii_control() => rest.trim_ascii_start(),
            [b'\\', b'n' | b'r', rest @ ..] => rest.trim_ascii_start(),
            text => return text,
        };
    }
}

fn after(text: &[u8], wanted: u8) -> Option<&[u8]> {
    let (first, rest) = text.split_first()?;
    first.eq_ignore_ascii_case(&wanted).then_some(rest)
}

/// The text after an escaped byte.
fn after_escape(text: &[u8], wanted: u8) -> Option<&[u8]> {
    let is_wanted = |code: u32| u8::try_from(code).is_ok_and(|it| it.eq_ignore_ascii_case(&wanted));
    match text {
        [b'%', rest @ ..] => {
            let (digits, after) = rest.split_at_checked(2)?;
            if is_wanted(number(digits, 16)?) {
                return Some(after);
            }
            // Percent-encoded twice, as in a URL inside a URL.
            let (digits, after) = rest.strip_prefix(b"25")?.split_at_checked(2)?;
            is_wanted(number(digits, 16)?).then_some(after)
        }
        [b'\\', b'u', rest @ ..] => {
            let (digits, rest) = rest.split_at_checked(4)?;
            is_wanted(number(digits, 16)?).then_some(rest)
        }
        [b'\\', escaped, rest @ ..] if *escaped == wanted => Some(rest),
        [b'&', rest @ ..] => {
            let end = rest.iter().take(8).position(|byte| *byte == b';')?;
            let (name, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
            let code = match name {
                b"amp" => u32::from('&'),
                b"lt" => u32::from('<'),
                b"gt" => u32::from('>'),
                b"quot" => u32::from('"'),
                b"apos" => u32::from('\''),
                [b'#', b'x' | b'X', digits @ ..] => number(digits, 16)?,
                [b'#', digits @ ..] => number(digits, 10)?,
                _ => return None,
            };
            is_wanted(code).then_some(rest)
        }
        _ => None,
    }
}

fn number(digits: &[u8], base: u32) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, base).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "wJal/rXU+tnFE&MI\"K7=MDENG";

    #[test]
    fn redaction_skips_millions_of_separators() {
        let breaks = "\u{1}".repeat(4 << 20);
        let text = format!("w{breaks}Jal/rXU+tnFE&MI\"K7=MDENG w{breaks}");
        assert_eq!(redacted(&text), format!("* w{breaks}"));
    }

    fn redacted(text: &str) -> String {
        Forms::of(VALUE).replace(text, "*", false).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn redaction_finds_every_encoding() {
        let all = |write: &dyn Fn(u8) -> String| VALUE.bytes().map(write).collect::<String>();
        let percent: String = url::form_urlencoded::byte_serialize(VALUE.as_bytes()).collect();
        for spelled in [
            VALUE.to_owned(),
            VALUE.to_ascii_lowercase(),
            VALUE.to_ascii_uppercase(),
            percent.clone(),
            percent.to_ascii_lowercase(),
            percent.replace('%', "%25"),
            all(&|byte| format!("%{byte:02x}")),
            serde_json::to_string(VALUE).unwrap().trim_matches('"').to_owned(),
            VALUE.replace('/', "\\/").replace('"', "\\\""),
            all(&|byte| format!("\\u{byte:04X}")),
            VALUE.replace('&', "&amp;").replace('"', "&quot;"),
            VALUE.replace('&', "&#38;").replace('"', "&#x22;").replace('/', "&#x2F;"),
            VALUE.replace("MI", "M\r\n I").replace("\n I", "\n\tI"),
            all(&|byte| format!("{byte:02X}")),
        ] {
            assert_eq!(redacted(&format!("<{spelled}>")), "<*>", "{spelled}");
            assert_eq!(redacted(&spelled), "*", "{spelled}");
            assert_eq!(redacted(&format!("é{spelled}ü {spelled}")), "é*ü *", "{spelled}");
        }
    }

    #[test]
    fn redaction_finds_base64_at_every_offset() {
        for before in ["", "a", "ab", "abc", "user:"] {
            for after in ["", "x", "xy", "xyz"] {
                let text = format!("{before}{VALUE}{after}");
                for engine in [BASE64_STANDARD, BASE64_URL_SAFE] {
                    let encoded = engine.encode(&text);
                    assert_eq!(redacted(&format!("Basic {encoded}, more")), "Basic *, more");
                }
            }
        }
    }

    #[test]
    fn redaction_keeps_partial_secrets() {
        for text in [
            "",
            "%",
            "%2",
            "&",
            "&#",
            "&#x;",
            "\\",
            "\\u12",
            "wJal/rXU+tnFE&MI\"K7=MDEN",
            "wJal",
            "é%C3%A9&eacute;\\u00e9",
            "wJal/rXU+tnFE&MI\"K7-=MDENG",
        ] {
            assert_eq!(redacted(text), text);
        }
        assert_eq!(Forms::of("").replace("anything", "*", false), None);
    }

    #[test]
    fn redaction_finds_values_that_look_like_escapes() {
        for value in ["100%25&amp;\\u0041b", "a%b&c\\d", "%%%&&&\\\\x"] {
            let percent: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            let json = serde_json::to_string(value).unwrap();
            let forms = Forms::of(value);
            for text in [value, &percent, json.trim_matches('"')] {
                assert_eq!(forms.replace(text, "*", false).as_deref(), Some("*"), "{text}");
            }
        }
    }

    #[test]
    fn redaction_finds_non_ascii_letters() {
        let forms = Forms::of("pässwörd");
        for text in ["pässwörd", "p%C3%A4ssw%c3%b6rd"] {
            assert_eq!(forms.replace(text, "*", false).as_deref(), Some("*"));
        }
    }
}
