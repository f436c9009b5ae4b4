//! A TCP link between the agent and a server that a test can cut at any moment and repair.
//!
//! It knows nothing about the bytes, so it also carries TLS and cuts anywhere in a stream. Dropping
//! the [`FaultyLink`] ends everything.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// The state of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Bytes pass.
    Working,
    /// Bytes wait in both directions, and so do new connections. Neither side gets an error.
    Silent,
    /// Connections are broken; new ones break as soon as they are made.
    Broken,
}

/// The state, and how often it was [`State::Broken`], so that a very short break counts too.
type Observed = (State, u64);

/// An open loopback port that forwards to another port.
#[derive(Debug)]
pub(crate) struct FaultyLink {
    pub(crate) address: SocketAddr,
    upstream: Arc<Mutex<SocketAddr>>,
    state: watch::Sender<Observed>,
    forwarding: AbortHandle,
}

impl FaultyLink {
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = Arc::new(Mutex::new(upstream));
        let (state, observed) = watch::channel((State::Working, 0));
        let forwarding =
            tokio::spawn(forward(listener, Arc::clone(&upstream), observed)).abort_handle();
        Self { address, upstream, state, forwarding }
    }

    /// Sets the address for connections that are made from now on.
    pub(crate) fn set_upstream(&self, upstream: SocketAddr) {
        *self.upstream.lock().unwrap() = upstream;
    }

    pub(crate) fn set(&self, state: State) {
        self.state.send_modify(|(now, breaks)| {
            *now = state;
            *breaks += u64::from(state == State::Broken);
        });
    }
}

impl Drop for FaultyLink {
    fn drop(&mut self) {
        self.forwarding.abort();
    }
}

/// The connections belong to this future and end with it.
async fn forward(
    listener: TcpListener,
    upstream: Arc<Mutex<SocketAddr>>,
    mut state: watch::Receiver<Observed>,
) {
    let mut connections = JoinSet::new();
    let mut breaks = 0;
    loop {
        tokio::select! {
            client = listener.accept() => {
                let (client, _) = client.unwrap();
                let (now, _) = *state.borrow();
                if now != State::Broken {
                    connections.spawn(connect(client, Arc::clone(&upstream), state.clone()));
                }
            }
            changed = state.changed() => {
                if changed.is_err() {
                    return;
                }
                let (_, now) = *state.borrow_and_update();
                if std::mem::replace(&mut breaks, now) != now {
                    connections.shutdown().await;
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(
    client: TcpStream,
    upstream: Arc<Mutex<SocketAddr>>,
    mut state: watch::Receiver<Observed>,
) {
    until_working(&mut state).await;
    let upstream = *upstream.lock().unwrap();
    let Ok(upstream) = TcpStream::connect(upstream).await else { return };
    for socket in [&client, &upstream] {
        socket.set_nodelay(true).unwrap();
    }
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), upstream.into_split());
    tokio::join!(pump(from_client, to_server, state.clone()), pump(from_server, to_client, state));
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<Observed>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        until_working(&mut state).await;
        let read = tokio::select! {
            biased;
            () = until_not_working(&mut state) => continue,
            read = from.read(&mut buffer) => read,
        };
        let Ok(length @ 1..) = read else { break };
        until_working(&mut state).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

async fn until_working(state: &mut watch::Receiver<Observed>) {
    let _ = state.wait_for(|(state, _)| *state == State::Working).await;
}

async fn until_not_working(state: &mut watch::Receiver<Observed>) {
    let _ = state.wait_for(|(state, _)| *state != State::Working).await;
}
