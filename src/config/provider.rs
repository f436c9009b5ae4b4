//! Known providers, from `protocol/providers.json`, identified by host name.
//!
//! The table fills in missing settings and explains errors; it never overrides a setting.

use std::sync::LazyLock;

use serde::Deserialize;

use super::AddressingStyle;

/// One entry of the table, with the members that the agent uses.
#[derive(Debug, Deserialize)]
pub struct Provider {
    /// Stable name, such as `backblaze`.
    pub key: String,
    /// The provider's own name.
    pub name: String,
    /// Endpoint to enter; `{region}` stands for the region.
    pub endpoint: String,
    hosts: Vec<String>,
    wrong_hosts: Vec<WrongHost>,
    region: RegionRule,
    /// Addressing style of `auto`.
    pub addressing_style: AddressingStyle,
    /// Whether the service requires TLS.
    pub https_only: bool,
    /// Limits of multipart uploads.
    pub parts: PartLimits,
    /// Whether the query parameter `x-id`, which the SDK adds, breaks signatures.
    pub drop_x_id: bool,
    conditional_writes: ConditionalWrites,
    key_id: Option<KeyShape>,
    #[serde(default)]
    wrong_key_ids: Vec<WrongKey>,
}

/// A host of the provider that is not its S3 service.
#[derive(Debug, Deserialize)]
struct WrongHost {
    host: String,
    is: String,
}

#[derive(Debug, Deserialize)]
struct RegionRule {
    rule: Rule,
    default: String,
    regions: Vec<Region>,
}

/// A region of the provider.
#[derive(Debug, Deserialize)]
struct Region {
    id: String,
    /// Its endpoint, where that differs from the others.
    endpoint: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Rule {
    /// The host name contains the region.
    InHost,
    /// The region is always the same.
    Fixed,
    /// The region is configured on the server.
    Free,
}

/// How the server handles conditional writes (If-None-Match).
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ConditionalWrites {
    Enforced,
    Ignored,
    Refused,
    Unknown,
}

/// Limits of multipart uploads.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct PartLimits {
    /// Most parts of one upload.
    pub max_count: u64,
}

/// Shape of an access key ID.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KeyShape {
    prefix: String,
    length: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct WrongKey {
    #[serde(flatten)]
    shape: KeyShape,
    is: String,
}

impl KeyShape {
    fn fits(&self, text: &str) -> bool {
        text.starts_with(&self.prefix)
            && self.length.is_none_or(|length| text.chars().count() == length)
    }
}

#[derive(Deserialize)]
struct Table {
    providers: Vec<Provider>,
}

static TABLE: LazyLock<Vec<Provider>> = LazyLock::new(|| {
    let text = include_str!("../../protocol/providers.json");
    // A test parses the table, so this cannot fail in a release.
    serde_json::from_str::<Table>(text).map(|table| table.providers).unwrap_or_default()
});

/// The provider with this host, and the region in the host name.
pub(super) fn of_host(host: &str) -> Option<(&'static Provider, Option<String>)> {
    let host = host.to_ascii_lowercase();
    TABLE.iter().find_map(|provider| {
        let found = provider.hosts.iter().find_map(|pattern| matched(pattern, &host))?;
        Some((provider, found))
    })
}

/// For a host that belongs to a provider and is not its S3 service: the provider, and what the host
/// is.
#[must_use]
pub fn wrong_host(host: &str) -> Option<(&'static Provider, &'static str)> {
    let host = host.to_ascii_lowercase();
    TABLE.iter().find_map(|provider| {
        let mut wrong = provider.wrong_hosts.iter();
        let wrong = wrong.find(|wrong| matched(&wrong.host, &host).is_some())?;
        Some((provider, wrong.is.as_str()))
    })
}

impl Provider {
    /// All of them; the last stands for every other.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &TABLE
    }

    /// The endpoint of a region. It has words in upper case where more has to be known.
    #[must_use]
    pub fn endpoint_in(&self, region: &str) -> String {
        let found = self.region.regions.iter().find(|it| it.id == region);
        let own = found.and_then(|region| region.endpoint.as_ref());
        own.map_or_else(|| self.endpoint.replace("{region}", region), Clone::clone)
    }

    /// Whether the host name contains the region.
    #[must_use]
    pub fn has_region_in_host(&self) -> bool {
        self.region.rule == Rule::InHost
    }

    /// A region to propose to someone who chooses the provider.
    #[must_use]
    pub fn usual_region(&self) -> &str {
        &self.region.default
    }

    /// The region if neither a setting nor the host name contains one.
    pub(super) fn default_region(&self) -> &str {
        match self.region.rule {
            // The oldest hosts of these providers contain no region and mean this one.
            Rule::InHost => super::DEFAULT_REGION,
            Rule::Fixed | Rule::Free => &self.region.default,
        }
    }

    /// Whether the server refuses conditional writes.
    #[must_use]
    pub fn refuses_conditions(&self) -> bool {
        self.conditional_writes == ConditionalWrites::Refused
    }

    /// The problem with an access key ID at this provider, if its shape is wrong.
    #[must_use]
    pub fn key_id_problem(&self, key_id: &str) -> Option<String> {
        let mut wrong = self.wrong_key_ids.iter();
        if let Some(wrong) = wrong.find(|wrong| wrong.shape.fits(key_id)) {
            return Some(wrong.is.clone());
        }
        let shape = self.key_id.as_ref().filter(|shape| !shape.fits(key_id))?;
        let start = match shape.prefix.as_str() {
            "" => String::new(),
            prefix => format!(" that start with {prefix}"),
        };
        Some(match shape.length {
            Some(length) => format!(
                "it has {} characters, but {} uses IDs of {length} characters{start}",
                key_id.chars().count(),
                self.name
            ),
            None => format!("{} uses IDs{start}", self.name),
        })
    }
}

/// Whether `host` matches `pattern`, in which `*` and `{region}` match a non-empty part of a label;
/// returns the match of `{region}`.
#[expect(clippy::option_option, reason = "a host may fit without naming a region")]
fn matched(pattern: &str, host: &str) -> Option<Option<String>> {
    let mut region = None;
    let (mut patterns, mut labels) = (pattern.split('.'), host.split('.'));
    loop {
        match (patterns.next(), labels.next()) {
            (None, None) => return Some(region),
            (Some(pattern), Some(label)) => {
                if let Some((before, after)) = pattern.split_once("{region}") {
                    region = Some(between(label, before, after)?.to_owned());
                } else if let Some((before, after)) = pattern.split_once('*') {
                    between(label, before, after)?;
                } else if pattern != label {
                    return None;
                }
            }
            _ => return None,
        }
    }
}

fn between<'a>(label: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let middle = label.strip_prefix(before)?.strip_suffix(after)?;
    (!middle.is_empty()).then_some(middle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region_of(host: &str) -> Option<(&str, Option<String>)> {
        of_host(host).map(|(provider, region)| (provider.key.as_str(), region))
    }

    #[test]
    fn host_name_gives_provider_and_region() {
        assert!(TABLE.len() > 15);
        let named = |key, region: &str| Some((key, Some(region.to_owned())));
        for (host, provider) in [
            ("s3.eu-central-1.amazonaws.com", named("aws", "eu-central-1")),
            ("S3.Dualstack.eu-west-1.amazonaws.com", named("aws", "eu-west-1")),
            ("s3.cn-north-1.amazonaws.com.cn", named("aws", "cn-north-1")),
            ("s3.us-west-004.backblazeb2.com", named("backblaze", "us-west-004")),
            ("s3.fr-par.scw.cloud", named("scaleway", "fr-par")),
            ("abc.r2.cloudflarestorage.com", Some(("cloudflare", None))),
            ("abc.eu.r2.cloudflarestorage.com", Some(("cloudflare", None))),
            ("s3.example.org", None),
            ("backblazeb2.com", None),
            ("s3..backblazeb2.com", None),
            ("evil.s3.us-west-004.backblazeb2.com.example.org", None),
        ] {
            assert_eq!(region_of(host), provider, "{host}");
        }
    }

    #[test]
    fn endpoint_of_each_region_names_its_provider_and_region() {
        let text = include_str!("../../protocol/providers.json");
        let table: serde_json::Value = serde_json::from_str(text).unwrap();
        let mut count = 0;
        for row in table["providers"].as_array().unwrap() {
            let (key, rule) = (row["key"].as_str().unwrap(), row["region"]["rule"].as_str());
            if row["hosts"].as_array().unwrap().is_empty() {
                continue;
            }
            for region in row["region"]["regions"].as_array().unwrap() {
                let id = region["id"].as_str().unwrap();
                let endpoint = region["endpoint"].as_str().or(row["endpoint"].as_str()).unwrap();
                let host = endpoint.trim_start_matches("https://").replace("{region}", id);
                let named = (rule == Some("in_host")).then(|| id.to_owned());
                assert_eq!(region_of(&host), Some((key, named)), "{host}");
                count += 1;
            }
        }
        assert!(count > 200);
    }

    #[test]
    fn host_name_that_is_not_s3_is_recognized() {
        assert_eq!(wrong_host("pub-0123.r2.dev").unwrap().0.key, "cloudflare");
        assert!(wrong_host("s3.us-west-004.backblazeb2.com").is_none());
    }

    #[test]
    fn account_key_of_wrong_kind_is_detected() {
        let (backblaze, _) = of_host("s3.us-west-004.backblazeb2.com").unwrap();
        assert!(backblaze.key_id_problem("0123456789ab").unwrap().contains("master"));
        assert_eq!(backblaze.key_id_problem("0040123456789ab0000000001"), None);
        let (cloudflare, _) = of_host("abc.r2.cloudflarestorage.com").unwrap();
        assert!(
            cloudflare.key_id_problem("AKIAIOSFODNN7EXAMPLE").unwrap().contains("20 characters")
        );
    }
}
