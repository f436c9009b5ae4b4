//! Complete, unusual and wrong settings.

use super::*;
use crate::error::Code;

fn settings() -> S3Config {
    S3Config {
        endpoint: Some("https://s3.example.org".to_owned()),
        bucket: Some("backups".to_owned()),
        access_key_id: Some("AK".to_owned()),
        secret_access_key: Some(SecretSource::Inline(Secret::from("SK".to_owned()))),
        ..S3Config::default()
    }
}

fn code_and_field(settings: S3Config) -> (Code, String) {
    let error = settings.check().unwrap_err();
    (error.code(), error.data().field.unwrap_or_default())
}

#[test]
fn defaults_fit_any_provider() {
    let config = settings().check().unwrap();
    assert!(config.path_style && config.verify_tls);
    assert_eq!(config.region, "us-east-1");
    assert_eq!(config.part_size, DEFAULT_PART_SIZE);
    assert_eq!(
        config.limits.get(),
        Limits {
            memory_budget: DEFAULT_MEMORY_BUDGET,
            concurrency: DEFAULT_PARALLEL_PARTS,
            bandwidth_limit: None
        }
    );
    assert_eq!((config.prefix.as_str(), config.folder.as_str()), ("", "backups"));
}

#[test]
fn empty_folder_differs_from_default_folder() {
    let mut given = settings();
    given.folder = Some(String::new());
    assert_eq!(given.check().unwrap().folder, "");
}

#[test]
fn aws_endpoint_is_virtual_hosted_and_has_a_region() {
    let mut given = settings();
    given.endpoint = Some("https://s3.eu-central-1.amazonaws.com".to_owned());
    let config = given.check().unwrap();
    assert!(!config.path_style);
    assert_eq!(config.region, "eu-central-1");

    let mut given = settings();
    given.endpoint = None;
    given.region = Some("ap-south-1".to_owned());
    let config = given.check().unwrap();
    assert_eq!(config.endpoint.as_str(), "https://s3.ap-south-1.amazonaws.com/");

    let mut given = settings();
    given.endpoint = Some("https://s3.dualstack.eu-west-1.amazonaws.com".to_owned());
    given.addressing_style = Some(AddressingStyle::Path);
    let config = given.check().unwrap();
    assert!(config.path_style);
    assert_eq!(config.region, "eu-west-1");
}

#[test]
fn known_host_fills_in_missing_settings_only() {
    let of = |endpoint: &str| {
        let endpoint = Some(endpoint.to_owned());
        S3Config { endpoint, ..settings() }
    };
    let config = of("https://0123.r2.cloudflarestorage.com").check().unwrap();
    assert_eq!((config.region.as_str(), config.region_given), ("auto", false));
    let config = of("https://s3.nl-ams.scw.cloud").check().unwrap();
    assert_eq!((config.region.as_str(), config.path_style), ("nl-ams", false));
    assert_eq!(config.provider.unwrap().parts.max_count, 1000);
    let chosen = S3Config {
        region: Some("elsewhere".to_owned()),
        addressing_style: Some(AddressingStyle::Path),
        ..of("https://s3.nl-ams.scw.cloud")
    };
    let config = chosen.check().unwrap();
    assert_eq!((config.region.as_str(), config.path_style), ("elsewhere", true));
    assert!(config.region_given && config.addressing_given);
}

#[test]
fn invalid_endpoint_is_explained() {
    for (endpoint, reason) in [
        ("s3.example.org", "scheme"),
        ("", "scheme"),
        ("ftp://s3.example.org", "scheme"),
        ("https://", "scheme"),
        ("https://s3.eu-central-1.amazonaws.com/other", "bucket_in_url"),
        ("https://other.fra1.digitaloceanspaces.com", "bucket_in_url"),
        ("https://me:pw@s3.example.org", "credentials_in_url"),
        ("me:pw@s3.example.org", "credentials_in_url"),
        ("me:pw@s3.example.org/x", "credentials_in_url"),
        ("https://@s3.example.org", "credentials_in_url"),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "credentials_in_url"),
        ("https://s3.example.org/?x=1", "query"),
    ] {
        let mut given = settings();
        given.endpoint = Some(endpoint.to_owned());
        let error = given.check().unwrap_err();
        assert_eq!(error.code(), Code::InvalidEndpoint, "{endpoint}");
        assert_eq!(error.details().get("reason"), Some(&reason.into()), "{endpoint}");
    }
}

fn bucket_is_refused(bucket: &str, endpoint: &str) -> bool {
    let mut given = settings();
    given.bucket = Some(bucket.to_owned());
    given.endpoint = Some(endpoint.to_owned());
    match given.check() {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.code(), Code::InvalidBucketName, "{bucket}");
            assert_eq!(error.data().field.as_deref(), Some("bucket"), "{bucket}");
            true
        }
    }
}

#[test]
fn bucket_name_follows_aws_rules_on_aws_only() {
    let aws = ["https://s3.eu-central-1.amazonaws.com", "https://s3.cn-north-1.amazonaws.com.cn"];
    for bucket in
        ["ab", "My-Bucket", "my_bucket", "-abc", "abc.", "10.0.0.1", "bück", "tenant:bucket"]
    {
        assert!(aws.iter().all(|endpoint| bucket_is_refused(bucket, endpoint)), "{bucket}");
        assert!(!bucket_is_refused(bucket, "https://s3.example.org"), "{bucket}");
        assert!(!bucket_is_refused(bucket, "https://amazonaws.com.example.org"), "{bucket}");
    }
}

#[test]
fn bucket_name_that_no_server_accepts_is_refused() {
    let long = "x".repeat(256);
    for bucket in [
        "",
        "a/b/c",
        "a..b",
        "..",
        ".",
        "a\nb",
        "a b",
        "a\\b",
        "s3://b1",
        &long,
        "arn:aws:s3:eu-west-1:1:accesspoint/x",
    ] {
        assert!(bucket_is_refused(bucket, "https://s3.example.org"), "{bucket}");
    }
    assert!(!bucket_is_refused(&"x".repeat(255), "https://s3.example.org"));
}

#[test]
fn bucket_that_fits_no_host_name_uses_path_style() {
    for (endpoint, bucket) in [
        ("https://s3.example.org", "my_bucket"),
        ("https://s3.example.org", "tenant:bucket"),
        ("https://s3.example.org/storage/v1/s3", "backups"),
        ("https://10.0.0.1:9000", "backups"),
    ] {
        let mut given = settings();
        given.endpoint = Some(endpoint.to_owned());
        given.bucket = Some(bucket.to_owned());
        given.addressing_style = Some(AddressingStyle::Virtual);
        assert!(given.check().unwrap().path_style, "{endpoint} {bucket}");
    }
}

#[test]
fn secret_in_other_setting_is_not_printed() {
    const RANDOM: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const OWN: &str = "minio-secret-4711";
    type Setting = fn(&mut S3Config) -> &mut Option<String>;
    let places: [(&str, Setting); 7] = [
        ("type", |settings| &mut settings.kind),
        ("endpoint", |settings| &mut settings.endpoint),
        ("region", |settings| &mut settings.region),
        ("bucket", |settings| &mut settings.bucket),
        ("prefix", |settings| &mut settings.prefix),
        ("folder", |settings| &mut settings.folder),
        ("storage_class", |settings| &mut settings.storage_class),
    ];
    for secret in [RANDOM, OWN] {
        for (field, place) in places {
            for value in [secret.to_owned(), format!("https://s3.example.org/{secret}")] {
                let mut given = settings();
                given.secret_access_key = Some(SecretSource::Inline(Secret::from(OWN.to_owned())));
                *place(&mut given) = Some(value);
                let error = given.check().unwrap_err();
                assert_eq!(error.data().field.as_deref(), Some(field));
                let said = format!("{error:?} {:?}", error.data());
                assert!(!said.contains(secret), "{said}");
            }
        }
    }
}

#[test]
fn kms_key_needs_kms_encryption() {
    let with = |algorithm, key: &str| {
        let mut given = settings();
        given.server_side_encryption = algorithm;
        given.server_side_encryption_key_id = Some(key.to_owned());
        given.check()
    };
    let arn = "arn:aws:kms:eu-west-1:1:key/0a1b";
    let encryption = with(Some(Algorithm::Kms), arn).unwrap().encryption.unwrap();
    assert_eq!(encryption.key_id.as_deref(), Some(arn));
    assert_eq!(with(Some(Algorithm::Aes256), "").unwrap().encryption.unwrap().key_id, None);
    for (algorithm, key) in [
        (None, arn),
        (Some(Algorithm::Aes256), arn),
        (Some(Algorithm::Kms), "a b"),
        (Some(Algorithm::Kms), "a\nb"),
    ] {
        let error = with(algorithm, key).unwrap_err();
        assert_eq!(error.data().field.as_deref(), Some("server_side_encryption_key_id"));
    }
}

#[test]
fn blank_or_padded_account_key_names_its_field() {
    for key in ["", "  ", " AK", "AK\n", "A K"] {
        let mut given = settings();
        given.access_key_id = Some(key.to_owned());
        assert_eq!(
            code_and_field(given),
            (Code::InvalidConfig, "access_key_id".to_owned()),
            "{key:?}"
        );
        let mut given = settings();
        given.secret_access_key = Some(SecretSource::Inline(Secret::from(key.to_owned())));
        assert_eq!(
            code_and_field(given),
            (Code::InvalidConfig, "secret_access_key".to_owned()),
            "{key:?}"
        );
    }
}

#[test]
fn secret_file_may_end_with_a_line_break() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "s3cr3t\r\n").unwrap();
    let mut given = settings();
    given.secret_access_key = Some(SecretSource::File { file });
    assert_eq!(given.check().unwrap().secret_access_key.expose(), "s3cr3t");
}

#[test]
fn small_memory_gets_small_parts() {
    let mut given = settings();
    given.memory = Some(32 * MIB);
    assert_eq!(given.check().unwrap().part_size, 5 * MIB);
    let mut given = settings();
    given.memory = Some(MIB);
    assert_eq!(code_and_field(given).1, "memory");
    let mut given = settings();
    given.part_size = Some(MIB);
    assert_eq!(code_and_field(given).1, "part_size");
}

#[test]
fn secret_is_not_printed_by_debug() {
    let config = settings().check().unwrap();
    assert!(!format!("{config:?}").contains("SK"));
}
