use super::*;
use crate::config::SecretSource;

/// What a secret in a file looks like: it may not be in any error.
const CANARY: &str = "hunter2hunter2hunter2";

fn parse(text: &str) -> Result<ConfigFile> {
    let variable = |name: &str| match name {
        "HOST" => Some("nas1".to_owned()),
        "QUOTES" => Some("\"\\${HOST}\n\" bucket = \"x".to_owned()),
        _ => None,
    };
    ConfigFile::parse(&Document {
        path: Path::new("/etc/agent/config.toml"),
        text,
        home: Some(Path::new("/home/anna")),
        variable: &variable,
    })
}

fn why(text: &str) -> String {
    let error = match parse(text) {
        Err(error) => error,
        Ok(file) => file.targets.into_iter().find_map(|(_, target)| target.err()).unwrap(),
    };
    assert_eq!(error.code(), Code::InvalidConfig);
    let message = error.message();
    assert!(
        !message.contains(CANARY) && !format!("{:?}", error.data()).contains(CANARY),
        "{message}"
    );
    message
}

#[test]
fn file_gives_targets_in_its_order() {
    let file = parse(
        r#"
        host = "cellar"
        default_target = "nas"
        memory = "128MiB"

        [targets.nas]
        description = "in the cellar"
        endpoint = "http://nas.lan:9000"
        bucket = "backups"
        prefix = "${HOST:-other}/${NONE:-x}"
        access_key_id = "AK"
        secret_access_key = { file = "nas.key" }
        addressing_style = "path"
        verify_tls = false
        part_size = "16MiB"
        bandwidth_limit = 1048576
        concurrency = 4
        ca_file = "~/ca.pem"

        [targets.cloud]
        bucket = "${QUOTES}"
        access_key_id = "AK"
        secret_access_key = { command = ["pass", "show", "${HOST}"] }
        server_side_encryption = "AES256"
        "#,
    )
    .unwrap();
    assert_eq!((file.host.as_str(), file.memory), ("cellar", Some(128 << 20)));
    assert_eq!(file.usual_target().unwrap(), "nas");
    let names: Vec<_> = file.targets.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["nas", "cloud"]);
    let nas = file.target("nas").unwrap();
    assert_eq!(nas.settings.prefix.as_deref(), Some("nas1/x"));
    assert_eq!(nas.settings.part_size, Some(16 << 20));
    assert_eq!(nas.settings.bandwidth_limit, Some(1 << 20));
    assert_eq!(nas.ca_file.as_deref(), Some(Path::new("/home/anna/ca.pem")));
    let Some(Origin::File(path)) = &nas.secret_access_key else {
        panic!("{:?}", nas.secret_access_key);
    };
    assert_eq!(path, Path::new("/etc/agent/nas.key"));
    let cloud = file.target("cloud").unwrap();
    assert_eq!(cloud.settings.bucket.as_deref(), Some("\"\\${HOST}\n\" bucket = \"x"));
    let Some(Origin::Command(words)) = &cloud.secret_access_key else {
        panic!("{:?}", cloud.secret_access_key);
    };
    assert_eq!(words, &["pass", "show", "nas1"]);
}

#[test]
fn wrong_setting_is_named_with_its_place_and_without_its_value() {
    for (text, expected) in [
        (
            "[targets.a]\nbukket = \"hunter2hunter2hunter2\"",
            "config.toml:2:1: \"bukket\" is no setting of targets.a: write \"bucket\"",
        ),
        ("memry = 1", "config.toml:1:1: \"memry\" is no setting of this file: write \"memory\""),
        ("[target.a]", "\"target\" is no setting of this file: write \"targets\""),
        (
            "[targets.a]\nmemory = \"96MiB\"",
            ":2:1: \"memory\" is no setting of targets.a: the memory is",
        ),
        (
            "[targets.a]\nverify_tls = \"hunter2hunter2hunter2\"",
            ":2:14: verify_tls has a wrong value (targets.a.verify_tls): write true or false",
        ),
        (
            "[targets.a]\nbucket = 7",
            ":2:10: bucket has a wrong value (targets.a.bucket): write a text",
        ),
        ("[targets.a]\npart_size = -1", ":2:13: part_size has a wrong value"),
        ("[targets.a]\npart_size = \"hunter2hunter2hunter2\"", "write a size such as"),
        ("[targets.a]\nconcurrency = \"4\"", "write a whole number"),
        (
            "[targets.a]\naddressing_style = \"hunter2hunter2hunter2\"",
            "write \"auto\" or \"path\" or \"virtual\"",
        ),
        (
            "[targets.a]\nbucket = \"${NONE}\"",
            ":2:10: the variable NONE is not set (targets.a.bucket)",
        ),
        ("[targets.a]\nbucket = \"ä${\"", ":2:10: there is no } after ${"),
        ("[targets.a]\nbucket = \"${1X}\"", "is no name of a variable"),
        (
            "[targets.a]\nsecret_access_key = { fil = \"hunter2hunter2hunter2\" }",
            ":2:23: \"fil\" is no",
        ),
        (
            "[targets.a]\nsecret_access_key = { file = \"x\", env = \"Y\" }",
            ":2:21: secret_access_key has",
        ),
        ("[targets.a]\nsecret_access_key = { }", "secret_access_key has a wrong value"),
        ("[targets.a]\nsecret_access_key = { command = [] }", "the program, then its arguments"),
        ("[targets.a]\nsecret_access_key = { command = \"pass show x\" }", "the program, then its"),
        ("[targets.a]\nsecret_access_key = 7", "secret_access_key has a wrong value"),
        (
            "default_target = \"b\"\n[targets.a]",
            ":1:18: there is no target \"b\" (default_target): the only",
        ),
        ("[targets.\"A b\"]", "the name of a target"),
        ("targets = 7", "write tables, each with a name"),
        ("[targets]\na = 7", ":2:1: targets has a wrong value"),
        ("[targets.a]\n[targets.a]", ":2:10: duplicate key"),
        ("[targets.a]\nbucket = \"x\"\nbucket = \"hunter2hunter2hunter2\"", ":3:1: duplicate key"),
        ("[targets.a\nsecret_access_key = \"hunter2hunter2hunter2\"", "config.toml:1:11:"),
        ("secret = hunter2hunter2hunter2", "config.toml:1:10:"),
        ("host = \"\\q hunter2hunter2hunter2\"", "config.toml:1:"),
    ] {
        let message = why(text);
        assert!(message.contains(expected), "{text}\n  {message}\n  {expected}");
    }
}

#[test]
fn table_with_an_error_leaves_the_others_usable() {
    let file = parse("[targets.a]\nbucket = \"${NONE}\"\n[targets.b]\nbucket = \"x\"").unwrap();
    assert!(file.target("b").is_ok());
    assert!(file.target("a").unwrap_err().message().contains("NONE"));
    let error = file.target("c").unwrap_err().message();
    assert!(error.contains("there is no target \"c\"") && error.contains("a, b"), "{error}");
    let error = file.usual_target().unwrap_err().message();
    assert!(error.contains("-t") && error.contains("a, b"), "{error}");
}

#[test]
fn wrong_value_that_is_found_later_is_placed_in_the_file() {
    let text = "[targets.a]\nendpoint = \"http://x\"\nbucket = \"b\"\nsecret_access_key = \"s\"";
    let file = parse(text).unwrap();
    let target = file.target("a").unwrap();
    let error = target.placed(target.load().unwrap().check().unwrap_err());
    let message = error.message();
    assert!(
        message.contains("config.toml:1:10:") || message.contains("config.toml:1:1:"),
        "{message}"
    );
    assert_eq!(error.data().field.as_deref(), Some("targets.a.access_key_id"));
}

#[test]
fn secret_is_read_from_where_the_file_says() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "from a file\n").unwrap();
    let path = folder.path().join("config.toml");
    let text = "[targets.a]\naccess_key_id = \"x\"\nsecret_access_key = { file = \"key\" }\n\
                session_token = { command = [\"echo\", \"from a command\"] }";
    std::fs::write(&path, text).unwrap();
    let file = ConfigFile::read(&path).unwrap();
    let loaded = file.target("a").unwrap().load().unwrap();
    let text = |source: Option<SecretSource>| match source {
        Some(SecretSource::Inline(secret)) => secret.expose().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(text(loaded.secret_access_key), "from a file");
    assert_eq!(text(loaded.session_token), "from a command");
}

#[cfg(unix)]
#[test]
fn file_with_a_secret_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    for (secret, is_refused) in
        [("\"hunter2\"", true), ("\"${HOME}\"", false), ("{ env = \"X\" }", false)]
    {
        std::fs::write(&path, format!("[targets.a]\nsecret_access_key = {secret}")).unwrap();
        for (mode, is_open) in [(0o600, false), (0o640, true), (0o604, true)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let read = ConfigFile::read(&path);
            assert_eq!(read.is_err(), is_refused && is_open, "{secret} {mode:o}");
            if let Err(error) = read {
                assert!(error.message().contains("chmod 600"), "{error}");
            }
        }
    }
}

#[test]
fn file_is_looked_for_until_one_is_found() {
    assert_eq!(ConfigFile::find(Some(Path::new("none"))), None);
    let wanted = Path::new("/does/not/exist");
    assert_eq!(ConfigFile::find(Some(wanted)).as_deref(), Some(wanted));
    assert!(ConfigFile::read(wanted).unwrap_err().message().contains("/does/not/exist"));
}

#[test]
fn damaged_file_shows_no_part_of_a_secret() {
    const SECRET: &str = "wJalrXUtnFEMIK7MDENGbPxRfiCY0hunter2K7MD";
    let text = format!(
        "memory = \"96MiB\"\n[targets.nas]\nsecret_access_key = \"{SECRET}\"\n\
         session_token = {{ command = [\"pass\", \"{SECRET}\"] }}\nbucket = '{SECRET}'\n"
    );
    let mut seen = std::collections::BTreeSet::new();
    let mut look = |text: &str| {
        let errors = match parse(text) {
            Err(error) => vec![error],
            Ok(file) => file.targets.into_iter().filter_map(|(_, target)| target.err()).collect(),
        };
        for error in errors {
            let shown = format!("{} {:?}", error.message(), error.data());
            let parts = (0..SECRET.len() - 7).map(|at| &SECRET[at..at + 8]);
            let found = parts.filter(|part| shown.contains(part)).collect::<Vec<_>>();
            assert_eq!(found, Vec::<&str>::new(), "{text}\n{shown}");
            seen.insert(error.fact().split(": ").last().unwrap_or_default().to_owned());
        }
    };
    for at in 0..text.len() {
        let (before, after) = text.split_at(at);
        look(before);
        look(&format!("{before}{}", &after[1..]));
        for inserted in [
            "\"", "'", "\"\"\"", "\\", "[", "]", "{", "}", "=", ".", ",", "\n", "#", "$", "${",
            "\u{1}", "é",
        ] {
            look(&format!("{before}{inserted}{after}"));
            look(&format!("{before}{inserted}{}", &after[1..]));
        }
    }
    assert!(seen.len() > 10, "{seen:#?}");
}
