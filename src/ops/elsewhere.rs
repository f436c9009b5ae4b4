//! Search for backups in other folders of the bucket when the configured one has none: with a wrong
//! prefix, a bucket looks empty.

use std::collections::{BTreeMap, HashSet};

use super::{Cancel, Target};
use crate::archives::Layout;
use crate::config::TargetConfig;
use crate::s3::Bucket;

const ARCHIVE: &str = ".tar";
const METADATA: &str = ".metadata.json";

/// Another folder of the bucket that holds backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// The path of the folder, with a final slash; empty for the root of the bucket.
    pub place: String,
    /// The value for `prefix`.
    pub prefix: String,
    /// The value for `folder`.
    pub folder: String,
    /// Number of backups seen there.
    pub backups: u64,
    /// Whether the folder is above or below the configured prefix, and not beside it.
    pub is_near: bool,
}

/// The folder that was most likely meant. Takes at most two listings of one page each, one level up
/// and one level down. None if the server refuses.
pub async fn elsewhere(target: &Target, cancel: &Cancel) -> Option<Elsewhere> {
    let found =
        async { Ok(search(target.store.bucket(), &target.config, target.store.layout()).await) };
    cancel.cancellable(found).await.ok().flatten()
}

pub(super) async fn search(
    bucket: &Bucket,
    config: &TargetConfig,
    layout: &Layout,
) -> Option<Elsewhere> {
    let prefix = config.prefix.trim().trim_matches('/');
    let folder = config.folder.trim().trim_matches('/');
    let parent = prefix.rsplit_once('/').map_or("", |(parent, _)| parent);
    let above = with_slash(parent);
    let search = Search { own: layout.folder(), prefix, folder };
    let all = match bucket.first_keys(&above).await {
        Ok((keys, more)) => {
            let found = search.best(&keys);
            if found.is_some() || !more {
                return found;
            }
            true
        }
        Err(_) => false,
    };
    // Other keys fill the page, or the credentials may list only their own prefix.
    let next = match (all, prefix) {
        (true, "") => layout.folder().to_owned(),
        (true, _) => format!("{above}{}", with_slash(folder)),
        (false, "") => return None,
        (false, _) => with_slash(prefix),
    };
    let (keys, _) = bucket.first_keys(&next).await.ok()?;
    search.best(&keys)
}

fn with_slash(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}/") }
}

struct Search<'a> {
    /// The configured folder, which holds no backups.
    own: &'a str,
    prefix: &'a str,
    folder: &'a str,
}

impl Search<'_> {
    fn best(&self, keys: &[String]) -> Option<Elsewhere> {
        let found = count(keys).into_iter().filter(|(place, _)| *place != self.own);
        let found = found.map(|(place, backups)| self.settings_of(place, backups));
        found.max_by_key(|it| (it.is_near, it.folder == self.folder, it.backups))
    }

    fn settings_of(&self, place: &str, backups: u64) -> Elsewhere {
        let path = place.trim_end_matches('/');
        // `folder` stays the same if the path ends in it.
        let above = path
            .strip_suffix(self.folder)
            .filter(|above| !self.folder.is_empty() && (above.is_empty() || above.ends_with('/')));
        let (prefix, folder) = match above {
            Some(above) => (above.trim_end_matches('/'), self.folder),
            None => (path, ""),
        };
        let is_above = |one: &str, other: &str| {
            one.is_empty() || other == one || other.starts_with(&format!("{one}/"))
        };
        Elsewhere {
            place: place.to_owned(),
            prefix: prefix.to_owned(),
            folder: folder.to_owned(),
            backups,
            is_near: is_above(prefix, self.prefix) || is_above(self.prefix, prefix),
        }
    }
}

/// Pairs of archive and metadata in each folder.
fn count(keys: &[String]) -> BTreeMap<&str, u64> {
    let archives: HashSet<&str> = keys.iter().filter_map(|key| key.strip_suffix(ARCHIVE)).collect();
    let mut counts = BTreeMap::new();
    let pairs = keys.iter().filter_map(|key| key.strip_suffix(METADATA));
    for name in pairs.filter(|name| archives.contains(name)) {
        let end = name.rfind('/').map_or(0, |slash| slash + 1);
        *counts.entry(name.get(..end).unwrap_or_default()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<String> {
        let both =
            names.iter().flat_map(|name| [format!("{name}.metadata.json"), format!("{name}.tar")]);
        both.collect()
    }

    fn best(prefix: &str, folder: &str, names: &[&str]) -> Option<(String, String, bool)> {
        let own = with_slash(prefix) + &with_slash(folder);
        let found = Search { own: &own, prefix, folder }.best(&keys(names))?;
        Some((found.prefix, found.folder, found.is_near))
    }

    #[test]
    fn search_names_settings_that_lead_to_backups() {
        for (prefix, folder, names, expected) in [
            ("ha", "backups", &["backups/a", "backups/b"][..], ("", "backups", true)),
            ("", "backups", &["ha/backups/a"], ("ha", "backups", true)),
            ("", "backups", &["ha/a"], ("ha", "", true)),
            ("ha", "backups", &["ha/a"], ("ha", "", true)),
            ("ha", "backups", &["a"], ("", "", true)),
            ("ha", "backups", &["hb/backups/a"], ("hb", "backups", false)),
            (
                "a/b",
                "backups",
                &["a/backups/x", "a/c/backups/1", "a/c/backups/2"],
                ("a", "backups", true),
            ),
            ("ha", "", &["ha/backups/a"], ("ha/backups", "", true)),
        ] {
            let expected = (expected.0.to_owned(), expected.1.to_owned(), expected.2);
            assert_eq!(best(prefix, folder, names), Some(expected), "{prefix} {folder} {names:?}");
        }
        assert_eq!(best("ha", "backups", &["ha/backups/a"]), None);
        assert_eq!(count(&["a.tar".to_owned(), "b.metadata.json".to_owned()]), BTreeMap::new());
    }
}
