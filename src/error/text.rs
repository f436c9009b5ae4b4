//! Text of others, made safe for where it goes.
//!
//! Servers, buckets and hosts name things as they like, and some characters do more than show:
//! they move the cursor, turn the direction of a line round, hide, or pile up. Each edge has its way
//! with them:
//!
//! | edge | what happens to them |
//! |---|---|
//! | sentence, log line, terminal | [`clean`]: a line break becomes a blank, the others U+FFFD |
//! | JSON on stdout | the value stays, written as `\u202e` |
//! | name of a file | `_` |
//! | Markdown and HTML | the host escapes all of it: here it is plain text |
//!
//! Letters of every script, accents and emoji with their joiners stay.

use unicode_width::UnicodeWidthChar as _;

use super::secrets;

/// Longest text of the storage that is repeated, in bytes.
pub const MAX_TEXT: usize = 2048;

/// Marks on one letter. More would climb over the lines above.
const MOST_MARKS: usize = 4;

/// Text from outside for a sentence: without secrets and hidden characters, and at most [`MAX_TEXT`]
/// long, so that it can stand in a log line, a terminal or a message.
#[must_use]
pub fn clean(text: &str) -> String {
    shortened(text, MAX_TEXT)
}

/// [`clean`] with another limit, in bytes.
#[must_use]
pub fn shortened(text: &str, limit: usize) -> String {
    cut(&visible(&secrets::redact(text)), limit)
}

/// [`clean`] for what a server or a library says, which may repeat a request: without the access
/// key ID and what was signed, too.
#[must_use]
pub fn quoted(text: &str) -> String {
    quoted_within(text, MAX_TEXT)
}

/// [`quoted`] with another limit, in bytes.
#[must_use]
pub fn quoted_within(text: &str, limit: usize) -> String {
    cut(&visible(&secrets::redact_served(text)), limit)
}

/// Whether a character shows as nothing, or changes how others show. Joiners are not hidden: they
/// make one picture or word of their neighbours.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Blanks without width, and marks of direction.
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'
            | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
            // Letters that show as a blank.
            | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}'
            // Control characters of notes, shorthand and hieroglyphs.
            | '\u{13430}'..='\u{1345f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            // Tags and selectors, private use, and what is no character.
            | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{e0000}'..='\u{10ffff}')
        || u32::from(character) & 0xfffe == 0xfffe
}

/// Joins its neighbours, or chooses how the letter before it looks.
fn is_joiner(character: char) -> bool {
    matches!(character, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}')
}

fn is_break(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// The text with its hidden characters replaced; several in a row by one.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut marks = 0;
    for character in text.trim().chars() {
        let before = shown.chars().next_back();
        let alone = before.is_none_or(char::is_whitespace);
        let is_mark = !is_joiner(character) && character.width() == Some(0);
        marks = if is_mark { marks + 1 } else { 0 };
        if is_break(character) {
            shown.push(' ');
        } else if is_hidden(character)
            || (is_joiner(character) && !before.is_some_and(|before| joins(before, character)))
            || (is_mark && alone)
        {
            if before != Some(char::REPLACEMENT_CHARACTER) {
                shown.push(char::REPLACEMENT_CHARACTER);
            }
        } else if marks <= MOST_MARKS {
            shown.push(character);
        }
    }
    shown
}

/// Whether a joiner has something to do behind this character.
fn joins(before: char, joiner: char) -> bool {
    let selector = matches!(joiner, '\u{fe00}'..='\u{fe0f}');
    let keycap = before.is_ascii_digit() || matches!(before, '#' | '*');
    match before {
        '\u{200c}' | '\u{200d}' | char::REPLACEMENT_CHARACTER => false,
        '\u{fe00}'..='\u{fe0f}' => !selector,
        before => (!before.is_ascii() && !before.is_whitespace()) || (selector && keycap),
    }
}

/// As many whole characters as fit into so many bytes.
fn cut(text: &str, limit: usize) -> String {
    let text = text.trim();
    text.get(..text.floor_char_boundary(limit)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_text_loses_control_characters_and_is_cut() {
        assert_eq!(clean("a\u{1b}[31m\nb"), "a [31m b");
        assert!(clean(&"é".repeat(5000)).len() <= MAX_TEXT);
        assert_eq!(shortened("aéb", 2), "a");
        assert_eq!(clean("\u{9b}2J\u{7f}x\u{2028}y\u{2029}z"), "2J x y z");
    }

    #[test]
    fn hidden_characters_are_shown_as_replacements() {
        for hidden in [
            "\u{202e}",
            "\u{202a}",
            "\u{2066}",
            "\u{2069}",
            "\u{200e}",
            "\u{200f}",
            "\u{61c}",
            "\u{200b}",
            "\u{2060}",
            "\u{feff}",
            "\u{ad}",
            "\u{e0041}\u{e007f}",
            "\u{e000}",
            "\u{f0000}",
            "\u{fdd0}",
            "\u{ffff}",
            "\u{3164}",
            "\u{fff9}",
            "\u{200d}",
            "\u{fe0f}",
            "\u{202e}\u{202e}\u{200b}",
        ] {
            assert_eq!(clean(&format!("a{hidden}b")), "a\u{fffd}b", "{hidden:?}");
        }
    }

    #[test]
    fn names_in_every_script_are_kept() {
        for name in [
            "Größe ÷ naïve",
            "e\u{301}te\u{301}",
            "נָא לִשְׁמֹר",
            "نسخة احتياطية",
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "ภาษาไทยที่ดี",
            "バックアップ",
            "한국어",
            "👩\u{200d}👩\u{200d}👧",
            "🏳\u{fe0f}\u{200d}🌈",
            "❤\u{fe0f}\u{200d}🔥",
            "1\u{fe0f}\u{20e3}",
            "👍🏽",
            "🇩🇪",
        ] {
            assert_eq!(clean(name), name);
        }
    }

    #[test]
    fn combining_marks_are_limited() {
        let flood = format!("a{}b", "\u{336}".repeat(500));
        assert_eq!(clean(&flood), format!("a{}b", "\u{336}".repeat(MOST_MARKS)));
        // Nor do they sit on what stands before the text.
        assert_eq!(clean("\u{301}a"), "\u{fffd}a");
    }
}
