//! `${NAME}` in the texts of the config file.

/// Why a text cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The variable is not set, and there is no default.
    Unset(String),
    /// `${` without `}`.
    Unclosed,
    /// What is in the braces is no name of a variable.
    Name,
}

/// Replaces `${NAME}` by the value of a variable, and `${NAME:-default}` by the default when the variable is
/// not set or empty. `$${` is a literal `${`; every other `$` is text. A value is never expanded again.
///
/// # Errors
/// The first fault.
pub(super) fn expand(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Fault> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = from.strip_prefix("$${") {
            out.push_str("${");
            rest = after;
        } else if let Some(after) = from.strip_prefix("${") {
            let (inside, after) = after.split_once('}').ok_or(Fault::Unclosed)?;
            out.push_str(&value_of(inside, variable)?);
            rest = after;
        } else {
            out.push('$');
            rest = from.strip_prefix('$').unwrap_or_default();
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn value_of(inside: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, Fault> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_name(name) {
        return Err(Fault::Name);
    }
    match (variable(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Fault::Unset(name.to_owned())),
    }
}

fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(letter)
        && name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
}

/// Whether the text is nothing but variables, so that the file does not hold what it stands for.
pub(super) fn is_from_variables(text: &str) -> bool {
    let mut rest = text;
    while let Some((name, after)) =
        rest.strip_prefix("${").and_then(|inside| inside.split_once('}'))
    {
        if !is_name(name) {
            return false;
        }
        rest = after;
    }
    rest.is_empty() && !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, set: &[(&str, &str)]) -> Result<String, Fault> {
        expand(text, &|name| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn variable_in_braces_is_replaced() {
        let set = [("HOST", "nas1"), ("EMPTY", ""), ("_X9", "nine")];
        for (text, expected) in [
            ("${HOST}", "nas1"),
            ("a/${HOST}/${_X9}/b", "a/nas1/nine/b"),
            ("${EMPTY}", ""),
            ("${EMPTY:-full}", "full"),
            ("${NONE:-}", ""),
            ("${NONE:-http://x:1/$HOME}", "http://x:1/$HOME"),
            ("${HOST:-other}", "nas1"),
            ("$${HOST}", "${HOST}"),
            ("$$${HOST}", "$${HOST}"),
        ] {
            assert_eq!(with(text, &set).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn dollar_without_braces_is_text() {
        for text in ["$HOST", "$", "$$", "pa$$word", "a$1", "$(date)", "ends with $", "}{"] {
            assert_eq!(with(text, &[("HOST", "x"), ("1", "y")]).as_deref(), Ok(text));
        }
    }

    #[test]
    fn value_of_a_variable_is_taken_verbatim() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let length = random.usize(..20);
            let letters = ['$', '{', '}', '"', '\\', '\n', ':', '-', 'A', 'ä', '\u{202e}'];
            let value: String =
                (0..length).map(|_| random.choice(letters).unwrap_or_default()).collect();
            assert_eq!(with("<${A}>", &[("A", &value)]), Ok(format!("<{value}>")));
        }
    }

    #[test]
    fn bad_reference_is_refused() {
        assert_eq!(with("a ${NONE}", &[]), Err(Fault::Unset("NONE".to_owned())));
        assert_eq!(with("${NONE", &[]), Err(Fault::Unclosed));
        for text in ["${}", "${1X}", "${A B}", "${:-x}", "${A-x}", "${Ä}", "${A:x}"] {
            assert_eq!(with(text, &[("A", "x")]), Err(Fault::Name), "{text}");
        }
    }

    #[test]
    fn text_of_variables_alone_is_told_from_one_in_the_file() {
        for (text, expected) in [
            ("${A}", true),
            ("${A}${B}", true),
            ("", false),
            ("secret", false),
            ("${A:-secret}", false),
            ("x${A}", false),
            ("${A}x", false),
            ("$${A}", false),
        ] {
            assert_eq!(is_from_variables(text), expected, "{text}");
        }
    }
}
