//! Certificates that no server of the tests can use, made with `openssl`: all for `storage.test`, and
//! valid from 2026 to 2126.

use std::time::Duration;

use rustls::crypto::ring;

use super::*;
use crate::net::find;
use crate::net::tls::read_pem;
use crate::net::tls::refusal::UntrustedCertificate;

const CA: &str = "\
-----BEGIN CERTIFICATE-----
MIIBezCCASGgAwIBAgIUZoC+uOYYynjts5P4Lntbb4UJBBgwCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHVGVzdCBDQTAgFw0yNjExMzAxNDIyMDBaGA8yMTI2MTEwNjE0
MjIwMFowEjEQMA4GA1UEAwwHVGVzdCBDQTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABGeu7IU6ZCq92/g8F2k16w9315GXh47wVG5aLmhNwln53Lg4Y1Sa2OuLUppi
+UpO0Mnqk/5uGCRnHVNJxa122pKjUzBRMB0GA1UdDgQWBBStL2Ns7jRHtZlaQ3Gd
2xnTlscY7TAfBgNVHSMEGDAWgBStL2Ns7jRHtZlaQ3Gd2xnTlscY7TAPBgNVHRMB
Af8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQCsUUYu8WWzKcr8KcfWHOZ1eUM2
DVg0g2C9GWtSHQiw2wIgE52nGj1VR37cV7ZalQEDpLcSMrXanCxSxr2Gnufw1qA=
-----END CERTIFICATE-----
";

const BY_SHA1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBhjCCAS2gAwIBAgIUScgYpQhY64AVOhHMoWH++HGvgd4wCQYHKoZIzj0EATAS
MRAwDgYDVQQDDAdUZXN0IENBMCAXDTI2MTEzMDE0MjIwMFoYDzIxMjYxMTA2MTQy
MjAwWjAXMRUwEwYDVQQDDAxzdG9yYWdlLnRlc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAS3c+NqRPh6b5eAvjNnC6UN5jVu2TmHyI5aIiyGh+DSWAa+yGCDdbB/
YsGABUScjloJ5n7RpawQJww3c7SBCT0eo1swWTAXBgNVHREEEDAOggxzdG9yYWdl
LnRlc3QwHQYDVR0OBBYEFJKqg4belj7Vnhg516fBzxNJz06qMB8GA1UdIwQYMBaA
FK0vY2zuNEe1mVpDcZ3bGdOWxxjtMAkGByqGSM49BAEDSAAwRQIhAJrfkKUjD/I2
0TD9pqVV4sJIrI6YKg7XT+67QGOmy9jXAiAeAdILeA9r8sQJkt6t4CJJwIf3oOMo
hs0lBnCxjkurhA==
-----END CERTIFICATE-----
";

const SHORT_KEY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBzjCCAXWgAwIBAgIUScgYpQhY64AVOhHMoWH++HGvgd8wCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHVGVzdCBDQTAgFw0yNjExMzAxNDIyMDBaGA8yMTI2MTEwNjE0
MjIwMFowFzEVMBMGA1UEAwwMc3RvcmFnZS50ZXN0MIGfMA0GCSqGSIb3DQEBAQUA
A4GNADCBiQKBgQDGTJEBfm5IoavXHCvtOUzObf0QS3jhW004dl73d9eKTqTndYd5
sDlD3W9jAy/UcVASdI5lkTXkgAACbLqCpO2U7Ehrx66/rl5XUnNsGblp/kFQ5Ygo
7m8TuztopPu19fPhH9yI38zbV5LcHCotWlq5M6KT+lXulzAg6tYG/03y3wIDAQAB
o1swWTAXBgNVHREEEDAOggxzdG9yYWdlLnRlc3QwHQYDVR0OBBYEFDuWiJnOmWmk
GKN4/qT5OcyL15lcMB8GA1UdIwQYMBaAFK0vY2zuNEe1mVpDcZ3bGdOWxxjtMAoG
CCqGSM49BAMCA0cAMEQCICom13di4wdyolmUWDU14M0oEtAyLxkaTUvb1Gp84JXU
AiBHYX6yov129156/DJhspSyNyqtC8/YWtm6bRyDIHgtUg==
-----END CERTIFICATE-----
";

const SHORT_CA: &str = "\
-----BEGIN CERTIFICATE-----
MIICBDCCAW2gAwIBAgIUHInLGPssugyL9Awi4KkTZrwk2iYwDQYJKoZIhvcNAQEL
BQAwEzERMA8GA1UEAwwIU2hvcnQgQ0EwIBcNMjYxMTMwMTQyMjAxWhgPMjEyNjEx
MDYxNDIyMDFaMBMxETAPBgNVBAMMCFNob3J0IENBMIGfMA0GCSqGSIb3DQEBAQUA
A4GNADCBiQKBgQDMmi/3fcHMtpc90CrJeTRi11tp2RDa0fdpHKP0cNMosFqGx1Wi
zKoWkl31lCz/6HlpE0Erq23vk6BCYOV2JJ8Juqj9EL7e5imj0hsaRWMEf3rmIMOS
Pauw1+qQ7GP38axMcHsaeeGjLd4xt5nY9N67EHcUrwK/KJqVy6CxXZ+z2QIDAQAB
o1MwUTAdBgNVHQ4EFgQU/QXUh3yiYfrwuRFhZBbzrN7TdpMwHwYDVR0jBBgwFoAU
/QXUh3yiYfrwuRFhZBbzrN7TdpMwDwYDVR0TAQH/BAUwAwEB/zANBgkqhkiG9w0B
AQsFAAOBgQCFDCo/JXJwIrL2ateeLrTC+38peDHHH8LlFjJO6oEwHYEUgLZsTfg+
KjzWOvFUDCxKZKIblJr28Hp/7DeMbVcHsqQXpFffB/ohiKLFllxE5zFME/5T1EKc
4XodHC0k1+A4ktUYbSsFJVL0irofDwqTOFmczA2qcuRi9J2ucIa60w==
-----END CERTIFICATE-----
";

const BY_SHORT_CA: &str = "\
-----BEGIN CERTIFICATE-----
MIIByTCCATKgAwIBAgIUIiVF+eeHkw101QJ75QxsnhV4ulAwDQYJKoZIhvcNAQEL
BQAwEzERMA8GA1UEAwwIU2hvcnQgQ0EwIBcNMjYxMTMwMTQyMjAxWhgPMjEyNjEx
MDYxNDIyMDFaMBcxFTATBgNVBAMMDHN0b3JhZ2UudGVzdDBZMBMGByqGSM49AgEG
CCqGSM49AwEHA0IABLdz42pE+Hpvl4C+M2cLpQ3mNW7ZOYfIjloiLIaH4NJYBr7I
YIN1sH9iwYAFRJyOWgnmftGlrBAnDDdztIEJPR6jWzBZMBcGA1UdEQQQMA6CDHN0
b3JhZ2UudGVzdDAdBgNVHQ4EFgQUkqqDht6WPtWeGDnXp8HPE0nPTqowHwYDVR0j
BBgwFoAU/QXUh3yiYfrwuRFhZBbzrN7TdpMwDQYJKoZIhvcNAQELBQADgYEAw1md
2oSMY3ti0JaBG7gBl/NNWp6cQeJKHxk3EJfMTwWo0Cv5Xp99/cE68FJl6H18+Hxy
7GFSWEFllBQUPALhu10CbD8gZZ0u1qF0vXrXWrHHUMlDJedajAl1pvVZgCLaiDXC
lfJjC+rpe0cmMyhcd3sMmbeD85ZkZ/qYRIlXGWQ=
-----END CERTIFICATE-----
";

const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBKjCB0QIUP5/5DRRwI2DEo9Ptp/aT7wiZx2UwCgYIKoZIzj0EAwIwFzEVMBMG
A1UEAwwMc3RvcmFnZS50ZXN0MCAXDTI2MTEzMDE0MjIwMFoYDzIxMjYxMTA2MTQy
MjAwWjAXMRUwEwYDVQQDDAxzdG9yYWdlLnRlc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAS3c+NqRPh6b5eAvjNnC6UN5jVu2TmHyI5aIiyGh+DSWAa+yGCDdbB/
YsGABUScjloJ5n7RpawQJww3c7SBCT0eMAoGCCqGSM49BAMCA0gAMEUCIB3Sb0US
4fdtnm+JGZ1vma00j9n6Qel3Tlz0fKn4pJRjAiEAzGo6NqDdDxp8/rglwcgvxW03
n9BnJ0XiY9TephmLOm8=
-----END CERTIFICATE-----
";

/// In 2027.
const NOW: u64 = 1_800_000_000;

/// The problem of a certificate with these certificates in the settings.
fn problem(certificate: &str, given: &[&str], now: u64) -> Option<Problem> {
    let given = given.iter().flat_map(|pem| read_pem(pem).unwrap()).collect();
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier::new(RootCertStore::empty(), given, provider).unwrap().unwrap();
    let certificate = read_pem(certificate).unwrap().remove(0).der;
    let name = ServerName::try_from("storage.test").unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let verdict = verifier.verify_server_cert(&certificate, &[], &name, &[], now);
    let error = verdict.err()?;
    Some(find::<UntrustedCertificate>(&error).unwrap_or_else(|| panic!("{error}")).problem)
}

#[test]
fn certificate_with_sha1_signature_is_named() {
    assert_eq!(problem(BY_SHA1, &[CA], NOW), Some(Problem::SignatureAlgorithm));
}

#[test]
fn certificate_with_short_rsa_key_is_named() {
    assert_eq!(problem(SHORT_KEY, &[CA], NOW), Some(Problem::ShortKey(1024)));
    assert_eq!(problem(BY_SHORT_CA, &[SHORT_CA], NOW), Some(Problem::ShortKey(1024)));
    // The same when the certificate itself is in the settings.
    assert_eq!(problem(SHORT_KEY, &[SHORT_KEY], NOW), Some(Problem::ShortKey(1024)));
}

#[test]
fn certificate_of_version_1_is_named_even_when_given() {
    assert_eq!(problem(VERSION_1, &[CA], NOW), Some(Problem::Version));
    assert_eq!(problem(VERSION_1, &[CA, VERSION_1], NOW), Some(Problem::Version));
}

#[test]
fn given_certificate_is_trusted_between_its_dates_only() {
    // In 2001 and in 2201.
    let (early, late) = (1_000_000_000, 7_300_000_000);
    for given in [CA, SHORT_CA] {
        let of = |now| problem(given, &[given], now);
        assert!(matches!(of(early), Some(Problem::UserNotYetValid(_))), "{:?}", of(early));
        assert!(matches!(of(late), Some(Problem::UserExpired(_))), "{:?}", of(late));
    }
    assert!(matches!(problem(BY_SHA1, &[CA], late), Some(Problem::Expired(_))));
}
