//! The text of a new table of the config file.

use super::super::output::toml_text;

/// A table of a target.
pub(super) struct Table<'a> {
    /// The name of the target.
    pub(super) name: &'a str,
    /// The settings in their order; those without a value are left out.
    pub(super) members: Vec<(&'a str, Option<String>)>,
    /// The file with the secret access key.
    pub(super) key_file: &'a str,
}

impl Table<'_> {
    /// The text of the file with this table at its end.
    pub(super) fn appended_to(&self, before: &str) -> String {
        let mut text = before.to_owned();
        if !text.is_empty() {
            text.push_str(if text.ends_with('\n') { "\n" } else { "\n\n" });
        }
        text.push_str(&format!("[targets.{}]\n", self.name));
        for (member, value) in &self.members {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                text.push_str(&format!("{member} = {}\n", toml_text(value)));
            }
        }
        text.push_str(&format!("secret_access_key = {{ file = {} }}\n", toml_text(self.key_file)));
        text
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{ConfigFile, Origin};

    fn random_text(random: &mut fastrand::Rng) -> String {
        let odd =
            ['"', '\\', '$', '{', '}', '\n', '\r', '\t', '\0', '\u{7f}', '\u{85}', '\u{2028}'];
        let length = random.usize(1..12);
        let letters = (0..length).filter_map(|_| match random.u8(0..4) {
            0 => Some(random.char(..)),
            1 => random.choice(['#', 'ä', '\'', ' ', '=', '[', ']', '~', '/', 'u']),
            _ => random.choice(odd),
        });
        letters.collect()
    }

    #[test]
    fn any_value_is_read_back() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..3000 {
            let [description, prefix, id] = [(); 3].map(|()| random_text(&mut random));
            let key_file = format!("/{}", random_text(&mut random));
            let before = random.choice(["", "# end", "# end\r\n", "[targets.x]\nbucket = \"b\"\n"]);
            let before = before.unwrap_or_default();
            let members = vec![
                ("description", Some(description.clone())),
                ("region", None),
                ("bucket", Some(String::new())),
                ("prefix", Some(prefix.clone())),
                ("access_key_id", Some(id.clone())),
            ];
            let text = Table { name: "nas", members, key_file: &key_file }.appended_to(before);
            assert!(text.starts_with(before));
            let file = ConfigFile::parse_text(Path::new("/x/config.toml"), &text).unwrap();
            let nas = file.target("nas").unwrap();
            assert_eq!(nas.description.as_ref(), Some(&description), "{text}");
            assert_eq!(nas.settings.prefix.as_ref(), Some(&prefix), "{text}");
            assert_eq!(nas.settings.access_key_id.as_ref(), Some(&id), "{text}");
            assert_eq!((&nas.settings.region, &nas.settings.bucket), (&None, &None));
            let Some(Origin::File(path)) = &nas.secret_access_key else {
                panic!("{text}");
            };
            assert_eq!(path, Path::new(&key_file), "{text}");
            assert_eq!(file.targets.len(), if before.starts_with('[') { 2 } else { 1 });
        }
    }

    #[test]
    fn table_is_plain_toml() {
        let members =
            vec![("bucket", Some("b".to_owned())), ("prefix", Some("a\"${X}\n".to_owned()))];
        let table = Table { name: "nas", members, key_file: "nas.key" };
        let expected = "[targets.nas]\nbucket = \"b\"\nprefix = \"a\\\"$${X}\\U0000000A\"\n\
                        secret_access_key = { file = \"nas.key\" }\n";
        assert_eq!(table.appended_to(""), expected);
        assert_eq!(table.appended_to("a = 1"), format!("a = 1\n\n{expected}"));
        assert_eq!(table.appended_to("a = 1\n"), format!("a = 1\n\n{expected}"));
    }
}
