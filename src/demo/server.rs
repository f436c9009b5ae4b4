//! An embedded S3 server over a folder, for the demo and the tests.
//!
//! Verifies signatures (SigV4, including payload checksums) and serves plain HTTP on the loopback
//! interface, path-style and virtual-hosted-style. The operations are in `folder`. Dropping it
//! closes all connections; requests that were received are finished. Not for real data.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::{S3Auth, SecretKey};
use s3s::host::{S3Host, VirtualHost};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{HttpError, S3Result, s3_error};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

use super::folder::Folder;

/// A running server.
#[derive(Debug)]
pub struct EmbeddedServer {
    address: SocketAddr,
    root: PathBuf,
    serving: AbortHandle,
}

impl EmbeddedServer {
    /// Serves the buckets in `folder`, one subfolder each, with one pair of access keys. Unfinished
    /// uploads of an earlier server over the same folder are unknown.
    ///
    /// # Errors
    /// When `folder` cannot be used, or no port can be opened.
    pub async fn start(folder: &Path, access_key: &str, secret_key: &str) -> io::Result<Self> {
        let root = folder.canonicalize()?;
        let mut builder = S3ServiceBuilder::new(Folder::new(root.clone())?);
        builder.set_host(Hosts(root.clone()));
        builder.set_auth(Owner {
            access_key: access_key.to_owned(),
            secret_key: SecretKey::from(secret_key),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(serve(listener, builder.build())).abort_handle();
        Ok(Self { address, root, serving })
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Creates an empty bucket.
    ///
    /// # Errors
    /// When it exists, or the folder cannot be written.
    pub fn create_bucket(&self, name: &str) -> io::Result<()> {
        std::fs::create_dir(self.root.join(name))
    }
}

impl Drop for EmbeddedServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Aborting this future closes the connections too, because it owns them.
async fn serve(listener: TcpListener, service: S3Service) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    // Otherwise small responses wait for delayed acknowledgements, 40 ms each.
                    let _ = socket.set_nodelay(true);
                    let service = service.clone();
                    let answer = service_fn(move |request| finished(service.clone(), request));
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(socket), answer);
                    connections.spawn(connection);
                }
                Err(error) => {
                    tracing::warn!(%error, "the embedded server cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Handles a request in a task of its own: a client that disconnects after its last byte must not
/// leave an object with content and without metadata.
async fn finished(
    service: S3Service,
    request: http::Request<Incoming>,
) -> Result<http::Response<s3s::Body>, HttpError> {
    let answering = tokio::spawn(async move { Service::call(&service, request).await });
    answering.await.unwrap_or_else(|error| Err(HttpError::new(Box::new(error))))
}

/// Accepts any host name; if it starts with the name of a bucket, it selects that bucket.
struct Hosts(PathBuf);

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let bucket = host.split_once('.').filter(|(first, _)| self.0.join(first).is_dir());
        Ok(match bucket {
            Some((bucket, domain)) => VirtualHost::new(domain).with_bucket(bucket),
            None => VirtualHost::new(host),
        })
    }
}

/// The account with all permissions.
struct Owner {
    access_key: String,
    secret_key: SecretKey,
}

#[async_trait::async_trait]
impl S3Auth for Owner {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.access_key {
            Ok(self.secret_key.clone())
        } else {
            Err(s3_error!(InvalidAccessKeyId, "The access key ID is unknown."))
        }
    }
}
