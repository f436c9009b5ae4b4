use super::*;

/// The proxy for an endpoint with these variables.
fn named(endpoint: &str, variables: &[(&str, &str)]) -> Result<Option<Proxy>> {
    let endpoint = Url::parse(endpoint).unwrap();
    Proxy::for_endpoint(&endpoint, |name| {
        let found = variables.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| OsString::from(value))
    })
}

/// The proxy of an https endpoint.
fn with(value: &str) -> Proxy {
    named("https://storage.test", &[("HTTPS_PROXY", value)]).unwrap().unwrap()
}

fn uri(proxy: Option<Proxy>) -> Option<String> {
    proxy.map(|proxy| proxy.uri.to_string())
}

fn login_of(value: &str) -> String {
    match with(value).protocol {
        Protocol::Tunnel { authorization } | Protocol::Forward { authorization } => {
            let value = authorization.unwrap();
            assert!(value.is_sensitive());
            let encoded = value.to_str().unwrap().strip_prefix("Basic ").unwrap().to_owned();
            BASE64_STANDARD.decode(encoded).unwrap().escape_ascii().to_string()
        }
        Protocol::Socks { login, .. } => {
            let (user, password) = login.unwrap();
            format!("{user}:{password}")
        }
    }
}

#[test]
fn proxy_scheme_and_default_port_are_kept() {
    for (value, expected) in [
        ("http://proxy.test:3128", "http://proxy.test:3128/"),
        ("http://proxy.test", "http://proxy.test:80/"),
        ("proxy.test:3128", "http://proxy.test:3128/"),
        ("10.0.0.1:3128/", "http://10.0.0.1:3128/"),
        (" http://proxy.test:3128\n", "http://proxy.test:3128/"),
        ("HTTPS://proxy.test", "https://proxy.test:443/"),
        ("https://user:pw@proxy.test:8443/", "https://proxy.test:8443/"),
        ("socks5://proxy.test", "socks5://proxy.test:1080/"),
        ("socks5h://user@[::1]:9050", "socks5h://[::1]:9050/"),
    ] {
        assert_eq!(with(value).uri.to_string(), expected, "{value}");
    }
    assert!(matches!(with("socks5://p").protocol, Protocol::Socks { local_dns: true, .. }));
    assert!(matches!(with("socks5h://p").protocol, Protocol::Socks { local_dns: false, .. }));
    assert!(matches!(with("https://p").protocol, Protocol::Tunnel { .. }));
    let plain = named("http://storage.test", &[("HTTP_PROXY", "https://p")]).unwrap().unwrap();
    assert!(matches!(plain.protocol, Protocol::Forward { .. }) && plain.is_https());
}

#[test]
fn invalid_proxy_value_is_refused_by_variable_name_only() {
    for value in [
        "ftp://me:S3CR3T@proxy.test:21",
        "socks4://me:S3CR3T@proxy.test",
        "socks://me:S3CR3T@proxy.test",
        "file:///S3CR3T",
        "http://",
        "http://:3128",
        "http://proxy.test:S3CR3T",
        "http://proxy.test:70000",
        "http://me:S3CR/3T@proxy.test:3128",
        "http://me:12/S3CR3T@proxy.test:3128",
        "http://me:S3CR#3T@proxy.test:3128",
        "http://me:S3CR?3T@proxy.test:3128",
        "http:\\\\me:S3CR3T@proxy.test",
        "http:/me:S3CR3T@proxy.test:3128",
        "http://proxy.test/proxy.pac?S3CR3T",
        "me S3CR3T",
        "S3CR3T\u{1}",
        "http://me:S3CR3T@pro xy.test",
        "socks5://me:S3CR3T%FF@proxy.test",
    ] {
        for (endpoint, name) in [
            ("https://storage.test", "HTTPS_PROXY"),
            ("https://storage.test", "all_proxy"),
            ("http://storage.test", "http_proxy"),
        ] {
            let error = named(endpoint, &[(name, value)]).err().unwrap();
            assert_eq!(error.code(), Code::InvalidConfig, "{value}");
            let text = format!("{error} {error:?}");
            assert!(text.contains(name), "{text}");
            assert!(!text.contains("S3CR") && !text.contains("3T@"), "{value}: {text}");
        }
    }
    let long = format!("socks5h://me:{}@proxy.test", "x".repeat(240));
    let error = named("https://storage.test", &[("HTTPS_PROXY", &long)]).err().unwrap();
    assert!(error.to_string().contains("HTTPS_PROXY"), "{error}");
}

#[cfg(unix)]
#[test]
fn proxy_value_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStringExt as _;
    let endpoint = Url::parse("https://storage.test").unwrap();
    for name in ["HTTPS_PROXY", "all_proxy", "NO_PROXY"] {
        let error = Proxy::for_endpoint(&endpoint, |other| match other {
            _ if other == name => Some(OsString::from_vec(b"http://p\xff:1".to_vec())),
            "HTTPS_PROXY" if name == "NO_PROXY" => Some("http://p:1".into()),
            _ => None,
        });
        let error = error.err().unwrap();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn proxy_login_is_decoded() {
    for (value, expected) in [
        ("http://us%40er:pass%3Aw%2Ford@proxy.test", "us@er:pass:w/ord"),
        ("https://user@proxy.test", "user:"),
        ("http://:pw@proxy.test", ":pw"),
        ("http://user:p@ss@proxy.test", "user:p@ss"),
        ("http://user:%ff%00@proxy.test", r"user:\xff\x00"),
        ("http://user:100%@proxy.test", "user:100%"),
        ("socks5h://us%40er:pass%3Aw%2Ford@proxy.test", "us@er:pass:w/ord"),
        ("socks5://user:p%C3%A4ss@proxy.test", "user:päss"),
    ] {
        assert_eq!(login_of(value), expected, "{value}");
        assert!(with(value).address().starts_with("proxy.test:"), "{value}");
    }
}

#[test]
fn proxy_variable_order_is_upper_case_then_scheme() {
    let all = [
        ("HTTPS_PROXY", "http://a:1"),
        ("https_proxy", "http://b:1"),
        ("ALL_PROXY", "http://c:1"),
        ("all_proxy", "http://d:1"),
    ];
    for (index, (name, _)) in all.iter().enumerate() {
        let proxy = named("https://storage.test", &all[index..]).unwrap().unwrap();
        assert_eq!(proxy.variable, *name);
    }
    // Empty variables are ignored, and variables that do not apply are not parsed.
    let variables = [
        ("HTTPS_PROXY", ""),
        ("https_proxy", "  "),
        ("ALL_PROXY", "c:1"),
        ("HTTP_PROXY", "ftp://x"),
    ];
    let proxy = named("https://storage.test", &variables).unwrap().unwrap();
    assert_eq!(proxy.variable, "ALL_PROXY");
    let variables = [("HTTPS_PROXY", "p:1"), ("ALL_PROXY", "ftp://x")];
    assert_eq!(named("https://storage.test", &variables).unwrap().unwrap().variable, "HTTPS_PROXY");
    assert!(named("http://storage.test", &[("HTTPS_PROXY", "p:1")]).unwrap().is_none());
    assert!(named("https://storage.test", &[("HTTP_PROXY", "p:1")]).unwrap().is_none());
}

#[test]
fn proxy_variable_in_cgi_environment_is_ignored() {
    let cgi = |variables: &[(&'static str, &'static str)]| {
        let variables = [variables, &[("REQUEST_METHOD", "GET")]].concat();
        uri(named("http://storage.test", &variables).unwrap())
    };
    assert_eq!(cgi(&[("HTTP_PROXY", "http://evil:1")]), None);
    let all = [("HTTP_PROXY", "http://evil:1"), ("ALL_PROXY", "http://all:1")];
    assert_eq!(cgi(&all).as_deref(), Some("http://all:1/"));
    #[cfg(not(windows))]
    assert_eq!(cgi(&[("http_proxy", "http://own:1")]).as_deref(), Some("http://own:1/"));
    // No request can set this variable.
    let https = [("REQUEST_METHOD", "GET"), ("HTTPS_PROXY", "http://own:1")];
    assert!(named("https://storage.test", &https).unwrap().is_some());
}

#[test]
fn no_proxy_entries_match_hosts_networks_and_ports() {
    let excepted = |endpoint: &str, list: &str| {
        let variables = [("ALL_PROXY", "http://p:1"), ("NO_PROXY", list)];
        named(endpoint, &variables).unwrap().is_none()
    };
    for (endpoint, list) in [
        ("https://storage.test", "*"),
        ("https://10.1.2.3:9000", "*"),
        ("http://[::1]:9000", "other.test, *"),
        ("https://storage.test", "storage.test"),
        ("https://storage.test", "STORAGE.Test."),
        ("https://storage.test.", "storage.test"),
        ("https://a.storage.test", "storage.test"),
        ("https://a.storage.test", ".storage.test"),
        ("https://a.storage.test", "*.storage.test"),
        ("https://storage.test", "other.test storage.test"),
        ("https://storage.test", ",,other.test,\tstorage.test,"),
        ("https://storage.test", "storage.test:443"),
        ("http://storage.test:9000", "storage.test:9000"),
        ("http://10.1.2.3", "10.1.2.3"),
        ("http://10.1.2.3:9000", "10.1.2.3:9000"),
        ("http://10.1.2.3", "10.0.0.0/8"),
        ("http://[fd00::1]:9000", "fd00::/8"),
        ("http://[fd00::1]:9000", "fd00::1"),
        ("http://[fd00::1]:9000", "[fd00::1]"),
        ("http://[fd00::1]:9000", "[fd00::1]:9000"),
    ] {
        assert!(excepted(endpoint, list), "{endpoint} {list}");
    }
    for (endpoint, list) in [
        ("https://storage.test", ""),
        ("https://storage.test", " , "),
        ("https://notstorage.test", "storage.test"),
        ("https://storage.test.example", "storage.test"),
        ("https://storage.test", "storage.test:8443"),
        ("http://storage.test", "storage.test:443"),
        ("http://11.1.2.3", "10.0.0.0/8"),
        ("http://10.1.2.3", "10.1.2"),
        ("http://[fd00::1]:9000", "[fd00::1]:9001"),
        ("https://storage.test", "http://storage.test"),
        ("https://storage.test", "*storage"),
    ] {
        assert!(!excepted(endpoint, list), "{endpoint} {list}");
    }
    // A proxy that is not used need not be valid.
    let variables = [("ALL_PROXY", "ftp://p"), ("no_proxy", "storage.test"), ("NO_PROXY", "")];
    assert!(named("https://storage.test", &variables).unwrap().is_none());
}
