//! Where a new target is: addresses as other tools write them, and the providers to choose from.

use super::super::ask;
use super::super::output::note;
use crate::config::Provider;
use crate::error::Result;

/// An address as an endpoint that may hold the bucket: the forms of other tools, `s3:host/bucket/path`,
/// `s3:https://host/bucket/path` and `s3://host/bucket/prefix`, mean `https://host/bucket/path`. The form of AWS
/// tools, `s3://bucket/prefix`, stays.
pub(super) fn as_url(address: &str) -> String {
    let address = address.trim();
    if let Some(rest) = address.strip_prefix("s3://") {
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let has_host = host.contains(['.', ':']) && !path.is_empty();
        return if has_host { format!("https://{rest}") } else { address.to_owned() };
    }
    match address.strip_prefix("s3:") {
        Some(rest) if rest.contains("://") => rest.to_owned(),
        Some(rest) => format!("https://{rest}"),
        None => address.to_owned(),
    }
}

/// The endpoint of the provider that is chosen, and the region if it has to be set.
///
/// # Errors
/// As [`ask::line`].
pub(super) fn asked(region: Option<String>) -> Result<(String, Option<String>)> {
    let all = Provider::all();
    for (index, provider) in all.iter().enumerate() {
        note(format!("{:>4}  {}", index + 1, provider.name));
    }
    let provider = loop {
        let answer = ask::needed("Provider, by number or name")?;
        match chosen(all, &answer) {
            Some(provider) => break provider,
            None => note("There is no such provider; the last one stands for all others."),
        }
    };
    let region = match region {
        None if provider.endpoint.contains("{region}") => {
            Some(ask::line("Region", Some(provider.usual_region()))?)
        }
        region => region,
    };
    let endpoint = provider.endpoint_in(region.as_deref().unwrap_or(provider.usual_region()));
    // Words in upper case stand for what only the user knows.
    let is_whole = !endpoint.contains(|letter: char| letter.is_ascii_uppercase());
    let endpoint = match is_whole {
        true => endpoint,
        false => as_url(&ask::needed(&format!("Endpoint URL, such as {endpoint}"))?),
    };
    // The address says the region where it can.
    Ok((endpoint, region.filter(|_| !is_whole || !provider.has_region_in_host())))
}

fn chosen<'a>(all: &'a [Provider], answer: &str) -> Option<&'a Provider> {
    if let Ok(number) = answer.parse::<usize>() {
        return all.get(number.checked_sub(1)?);
    }
    let wanted = answer.to_lowercase();
    let mut named = all.iter();
    named.find(|it| it.name.to_lowercase().starts_with(&wanted) || it.key == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::S3Config;

    #[test]
    fn address_of_other_tools_is_understood() {
        for (address, endpoint, bucket, prefix) in [
            ("https://s3.example.org/bucket/ha/x", "https://s3.example.org/", "bucket", "ha/x"),
            ("s3:s3.example.org/bucket/ha", "https://s3.example.org/", "bucket", "ha"),
            ("s3:https://s3.example.org:9000/bucket", "https://s3.example.org:9000/", "bucket", ""),
            ("s3:http://nas.lan:9000/bucket/x", "http://nas.lan:9000/", "bucket", "x"),
            ("s3://s3.example.org/bucket/ha", "https://s3.example.org/", "bucket", "ha"),
            ("s3://bucket/ha", "https://s3.us-east-1.amazonaws.com/", "bucket", "ha"),
            (" s3://bucket ", "https://s3.us-east-1.amazonaws.com/", "bucket", ""),
        ] {
            let settings = S3Config {
                endpoint: Some(as_url(address)),
                access_key_id: Some("-".to_owned()),
                ..S3Config::default()
            };
            let config = super::super::without_secrets(&settings).unwrap();
            let found = (config.endpoint.as_str(), config.bucket.as_str(), config.prefix.as_str());
            assert_eq!(found, (endpoint, bucket, prefix), "{address}");
        }
    }

    #[test]
    fn provider_is_chosen_by_number_or_name() {
        let all = Provider::all();
        assert_eq!(chosen(all, "1").unwrap().key, "aws");
        assert_eq!(chosen(all, "back").unwrap().key, "backblaze");
        assert_eq!(chosen(all, "MINIO").unwrap().key, "minio");
        for wrong in ["0", "99", "nobody"] {
            assert!(chosen(all, wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn proposed_region_is_one_of_the_provider() {
        let backblaze = chosen(Provider::all(), "backblaze").unwrap();
        assert_eq!(backblaze.usual_region(), "eu-central-003");
        for provider in Provider::all() {
            let endpoint = provider.endpoint_in(provider.usual_region());
            assert!(!endpoint.contains('{'), "{endpoint}");
        }
    }
}
