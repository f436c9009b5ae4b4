//! Proxies of each kind, and their answers: SOCKS5 and TLS to the proxy work, an unsupported kind
//! is refused, and no login or request is sent in clear except to an `http://` proxy.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use s3_backup_agent::demo::host::Host;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::certificates::Authority;
use super::proxy::{HTTP, HTTPS, assert_failed, login_proxy_with, start_tls};
use super::tls::always_sending;
use super::wire::{Act, Wire};
use super::{address, detail, list_error, open, round_trip};
use crate::e2e::ids;
use crate::support::TestServer;

/// A SOCKS5 server that forwards everything to one server.
struct Socks {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Socks {
    /// Accepts `login`, or every client without one, and answers with `status`.
    async fn start(upstream: SocketAddr, login: Option<&'static str>, status: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(socks(socket, upstream, login, status, Arc::clone(&seen)));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

async fn socks(
    mut near: TcpStream,
    upstream: SocketAddr,
    login: Option<&str>,
    status: u8,
    asked: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    assert_eq!(near.read_u8().await?, 5);
    let methods = text(&mut near).await?;
    let method = if login.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        asked.lock().unwrap().push("no login".to_owned());
        return near.write_all(&[5, 0xff]).await;
    }
    near.write_all(&[5, method]).await?;
    if let Some(login) = login {
        assert_eq!(near.read_u8().await?, 1);
        let (user, password) = (text(&mut near).await?, text(&mut near).await?);
        let fits = [user, password].join(&b':') == login.as_bytes();
        near.write_all(&[1, u8::from(!fits)]).await?;
        if !fits {
            asked.lock().unwrap().push("wrong login".to_owned());
            return Ok(());
        }
    }
    let mut request = [0; 4];
    near.read_exact(&mut request).await?;
    assert_eq!(request[..3], [5, 1, 0]);
    let host = match request[3] {
        1 => std::net::Ipv4Addr::from(near.read_u32().await?).to_string(),
        4 => std::net::Ipv6Addr::from(near.read_u128().await?).to_string(),
        _ => String::from_utf8(text(&mut near).await?).unwrap(),
    };
    let port = near.read_u16().await?;
    asked.lock().unwrap().push(format!("{host}:{port}"));
    // In pieces, as they may arrive.
    for byte in [5, status, 0, 1, 127, 0, 0, 1, 0, 80] {
        near.write_all(&[byte]).await?;
    }
    if status == 0 {
        let mut far = TcpStream::connect(upstream).await?;
        tokio::io::copy_bidirectional(&mut near, &mut far).await?;
    }
    Ok(())
}

/// Bytes with their length in front.
async fn text(socket: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut text = vec![0; socket.read_u8().await?.into()];
    socket.read_exact(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn socks_proxy_reaches_the_server() {
    let server = TestServer::embedded().await;
    let login = "us@er:pass:w/ord";
    let (secured, given) = start_tls(&server).await;
    let port = address(&server).port();
    let open_to = Socks::start(address(&server), None, 0).await;
    let guarded = Socks::start(secured.address, Some(login), 0).await;
    let url = format!("socks5h://us%40er:pass%3Aw%2Ford@{}", guarded.address);
    let host = open(&server, HTTPS, given, &[("ALL_PROXY", &url)]).await.unwrap();
    round_trip(&host).await;
    let asked = guarded.asked();
    assert!(
        !asked.is_empty() && asked.iter().all(|asked| asked == "storage.test:443"),
        "{asked:?}"
    );
    let localhost = format!("http://localhost:{port}");
    for (endpoint, scheme, variable, expected) in [
        (HTTP, "socks5h", "HTTP_PROXY", "storage.test:9000".to_owned()),
        ("http://storage.test", "socks5h", "all_proxy", "storage.test:80".to_owned()),
        (localhost.as_str(), "socks5", "http_proxy", format!("127.0.0.1:{port}")),
        (localhost.as_str(), "socks5h", "http_proxy", format!("localhost:{port}")),
    ] {
        let url = format!("{scheme}://{}", open_to.address);
        let host = open(&server, endpoint, json!({}), &[(variable, &url)]).await.unwrap();
        ids(&host).await;
        let validated = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
        assert_eq!(validated["ok"], true, "{validated}");
        let asked = open_to.asked();
        assert!(!asked.is_empty() && asked.iter().all(|asked| *asked == expected), "{asked:?}");
    }
}

#[tokio::test]
async fn socks_refusal_is_explained() {
    let server = TestServer::embedded().await;
    for (status, words) in [
        (2, "connection not allowed"),
        (4, "host unreachable"),
        (5, "connection refused"),
        (9, "does not speak the protocol"),
    ] {
        let proxy = Socks::start(address(&server), None, status).await;
        let url = format!("socks5h://{}", proxy.address);
        let host = open(&server, HTTPS, json!({}), &[("HTTPS_PROXY", &url)]).await.unwrap();
        let message = validated(&host).await;
        for words in [words, "HTTPS_PROXY", &proxy.address.to_string()] {
            assert!(message.contains(words), "{message}");
        }
    }
    for (login, seen) in [("", "no login"), ("user:S3CR3T@", "wrong login")] {
        let proxy = Socks::start(address(&server), Some("user:other"), 0).await;
        let url = format!("socks5h://{login}{}", proxy.address);
        let host = open(&server, HTTP, json!({}), &[("HTTP_PROXY", &url)]).await.unwrap();
        let error = list_error(&host).await;
        assert_failed(&error, &host);
        assert!(error.message.contains("requires a user name and password"), "{}", error.message);
        assert!(error.message.contains("HTTP_PROXY"), "{}", error.message);
        // A retry would not help.
        assert_eq!(proxy.asked(), [seen]);
    }
    // With `socks5` the agent resolves the name.
    let proxy = Socks::start(address(&server), None, 0).await;
    let url = format!("socks5://{}", proxy.address);
    let endpoint = "https://storage.invalid";
    let host = open(&server, endpoint, json!({}), &[("HTTPS_PROXY", &url)]).await.unwrap();
    let error = list_error(&host).await;
    assert_eq!(detail(&error, "stage"), "dns", "{error:?}");
    assert_eq!(proxy.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn https_proxy_is_verified_with_system_certificates() {
    let server = TestServer::embedded().await;
    let (secured, given) = start_tls(&server).await;
    let authority = Authority::new();
    let identity = || authority.issue(&["127.0.0.1"], 2000..3000);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("system.pem");
    std::fs::write(&file, &authority.pem).unwrap();
    let system = file.to_str().unwrap();
    for (endpoint, upstream, variable, changes) in [
        (HTTP, address(&server), "HTTP_PROXY", json!({})),
        (HTTPS, secured.address, "HTTPS_PROXY", given),
    ] {
        let proxy = login_proxy_with(upstream, Some(identity())).await;
        let url = format!("https://us%40er:pass%3Aw%2Ford@{}", proxy.address);
        let environment = [(variable, url.as_str()), ("SSL_CERT_FILE", system)];
        let host = open(&server, endpoint, changes, &environment).await.unwrap();
        round_trip(&host).await;
        for id in ["small", "large"] {
            let delete = json!({"target": "t1", "backup_id": id});
            host.call("backup.delete", delete).await.unwrap();
        }
        assert!(proxy.take_requests().len() > 1);
        // Neither the certificate of the target nor `verify_tls` applies to the proxy.
        let none = folder.path().join("none.pem");
        std::fs::write(&none, &Authority::new().pem).unwrap();
        let environment = [(variable, url.as_str()), ("SSL_CERT_FILE", none.to_str().unwrap())];
        let changes = json!({"ca_certificate": authority.pem, "verify_tls": false});
        let host = open(&server, endpoint, changes, &environment).await.unwrap();
        let error = list_error(&host).await;
        assert_failed(&error, &host);
        for words in ["its certificate is not trusted", "SSL_CERT_FILE", variable] {
            assert!(error.message.contains(words), "{}", error.message);
        }
        assert_eq!(proxy.take_requests().len(), 0);
    }
    let plain = Wire::start(address(&server), |_| Act::Pass).await;
    let url = format!("https://user:S3CR3T@{}", plain.address);
    let environment = [("HTTPS_PROXY", url.as_str()), ("SSL_CERT_FILE", system)];
    let host = open(&server, HTTPS, json!({}), &environment).await.unwrap();
    let error = list_error(&host).await;
    assert_failed(&error, &host);
    assert!(error.message.contains("does not speak TLS"), "{}", error.message);
    assert!(!error.message.contains("http://"), "{}", error.message);
    assert_eq!(plain.take_requests().len(), 0);
}

#[tokio::test]
async fn connect_refusal_keeps_its_status() {
    let server = TestServer::embedded().await;
    let answers: [(&[u8], &str); 8] = [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\n<Blocked>", "\"403 Forbidden\""),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "\"502 Bad Gateway\""),
        (b"HTTP/1.0 302 Found\r\nLocation: http://login.test/\r\n\r\n", "\"302 Found\""),
        (b"HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\n", "\"503 Service Unavailable\""),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "does not speak the protocol"),
        (b"HTTP/1.1 200 OK\r\n", "closed the connection"),
        (b"", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", "does not come from the server"),
    ];
    for (answer, words) in answers {
        let proxy = always_sending(answer).await;
        let url = format!("http://user:S3CR3T@{proxy}");
        let host = open(&server, HTTPS, json!({}), &[("ALL_PROXY", &url)]).await.unwrap();
        let message = validated(&host).await;
        for words in [words, "ALL_PROXY", &proxy.to_string()] {
            assert!(message.contains(words), "{message}");
        }
    }
    let proxy = always_sending(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
    let url = format!("http://user:S3CR3T@{proxy}");
    let host = open(&server, HTTPS, json!({}), &[("ALL_PROXY", &url)]).await.unwrap();
    let error = list_error(&host).await;
    assert_failed(&error, &host);
    assert_eq!(detail(&error, "answer"), "403 Forbidden");
}

/// The error with which `validate` reports the proxy.
async fn validated(host: &Host) -> String {
    let validated = host.call("target.validate", json!({"target": "t1"})).await.unwrap();
    let error = &validated["checks"][2]["error"];
    assert_eq!(error["code"], "cannot_connect", "{validated}");
    assert_eq!(error["details"]["stage"], "proxy", "{validated}");
    error["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn unsupported_proxy_scheme_is_refused_at_open() {
    let server = TestServer::embedded().await;
    let (_, seen) = recording_listener().await;
    for value in ["ftp://me:S3CR3T@127.0.0.1:1", "socks4://127.0.0.1:1", "http://me:S3/CR3T@h:1"] {
        for (endpoint, variable) in
            [(HTTP, "http_proxy"), (HTTPS, "HTTPS_PROXY"), (HTTPS, "ALL_PROXY")]
        {
            let error = open(&server, endpoint, json!({}), &[(variable, value)]).await.unwrap_err();
            assert_eq!(error.data.code, "invalid_config", "{value}");
            assert!(error.message.contains(variable), "{}", error.message);
            let all = serde_json::to_string(&error).unwrap();
            assert!(!all.contains("CR3T") && !all.contains("127.0.0.1:1"), "{all}");
            // A variable that is not used is not checked.
            let direct = [(variable, value), ("NO_PROXY", "*")];
            open(&server, endpoint, json!({}), &direct).await.unwrap();
        }
    }
    assert!(seen.lock().unwrap().is_empty());
}

/// A listener that records the first bytes of each connection and closes it.
async fn recording_listener() -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut first = vec![0; 65_536];
            let count = socket.read(&mut first).await.unwrap_or_default();
            first.truncate(count);
            noted.lock().unwrap().push(first);
        }
    });
    (address, seen)
}

#[tokio::test]
async fn only_http_proxy_sees_login_and_requests_in_clear() {
    let server = TestServer::embedded().await;
    let login = BASE64_STANDARD.encode("user:S3CR3T");
    for (endpoint, variable) in [(HTTP, "HTTP_PROXY"), (HTTPS, "HTTPS_PROXY"), (HTTPS, "ALL_PROXY")]
    {
        for scheme in ["http", "https", "socks5", "socks5h", "socks4", "ftp", "HTTPS", "quic"] {
            let (proxy, seen) = recording_listener().await;
            let url = format!("{scheme}://user:S3CR3T@{proxy}");
            let opened = open(&server, endpoint, json!({}), &[(variable, &url)]).await;
            let is_usable = matches!(scheme, "http" | "https" | "HTTPS" | "socks5" | "socks5h");
            assert_eq!(opened.is_ok(), is_usable, "{scheme}");
            if let Ok(host) = opened {
                let validated = host.call("target.validate", json!({"target": "t1"})).await;
                assert_eq!(validated.unwrap()["ok"], false);
            }
            let seen = seen.lock().unwrap();
            let texts: Vec<_> = seen.iter().map(|first| first.escape_ascii().to_string()).collect();
            assert_eq!(seen.is_empty(), !is_usable || scheme == "socks5", "{scheme}: {texts:?}");
            if scheme == "http" {
                assert!(texts.iter().any(|text| text.contains(&login)), "{texts:?}");
            }
            for (first, text) in seen.iter().zip(&texts).filter(|_| scheme != "http") {
                let expected = if scheme.starts_with("socks") { 0x05 } else { 0x16 };
                assert_eq!(first.first(), Some(&expected), "{scheme}: {text}");
                for secret in ["S3CR3T", &login, "CONNECT", "GET ", "AWS4-HMAC"] {
                    assert!(!text.contains(secret), "{scheme}: {text}");
                }
            }
            // Through a tunnel, a request is sent only within TLS.
            let is_clear = |text: &String| text.contains("AWS4-HMAC");
            assert!(endpoint == HTTP || !texts.iter().any(is_clear), "{texts:?}");
        }
    }
}
