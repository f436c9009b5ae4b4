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
    Whole,
    /// Bytes wait in both directions, and so do new connections. Neither side gets an error.
    Silent,
    /// Connections are broken; new ones break as soon as they are made.
    Cut,
}

/// The state, and how often it was [`State::Broken`], so that a very short break counts too.
type Seen = (State, u64);

/// An open loopback port that forwards to another port.
#[derive(Debug)]
pub(crate) struct Cable {
    pub(crate) address: SocketAddr,
    far: Arc<Mutex<SocketAddr>>,
    state: watch::Sender<Seen>,
    carrying: AbortHandle,
}

impl Cable {
    pub(crate) async fn to(far: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let far = Arc::new(Mutex::new(far));
        let (state, seen) = watch::channel((State::Whole, 0));
        let carrying = tokio::spawn(carry(listener, Arc::clone(&far), seen)).abort_handle();
        Self { address, far, state, carrying }
    }

    /// Sets the address for connections that are made from now on.
    pub(crate) fn lead_to(&self, far: SocketAddr) {
        *self.far.lock().unwrap() = far;
    }

    pub(crate) fn set(&self, state: State) {
        self.state.send_modify(|(now, cuts)| {
            *now = state;
            *cuts += u64::from(state == State::Cut);
        });
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

/// The connections belong to this future and end with it.
async fn carry(
    listener: TcpListener,
    far: Arc<Mutex<SocketAddr>>,
    mut state: watch::Receiver<Seen>,
) {
    let mut connections = JoinSet::new();
    let mut cuts = 0;
    loop {
        tokio::select! {
            near = listener.accept() => {
                let (near, _) = near.unwrap();
                let (now, _) = *state.borrow();
                if now != State::Cut {
                    connections.spawn(connect(near, Arc::clone(&far), state.clone()));
                }
            }
            changed = state.changed() => {
                if changed.is_err() {
                    return;
                }
                let (_, now) = *state.borrow_and_update();
                if std::mem::replace(&mut cuts, now) != now {
                    connections.shutdown().await;
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(near: TcpStream, far: Arc<Mutex<SocketAddr>>, mut state: watch::Receiver<Seen>) {
    whole(&mut state).await;
    let far = *far.lock().unwrap();
    let Ok(far) = TcpStream::connect(far).await else { return };
    for socket in [&near, &far] {
        socket.set_nodelay(true).unwrap();
    }
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    tokio::join!(pump(from_near, to_far, state.clone()), pump(from_far, to_near, state));
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<Seen>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        whole(&mut state).await;
        let read = tokio::select! {
            biased;
            () = broken(&mut state) => continue,
            read = from.read(&mut buffer) => read,
        };
        let Ok(length @ 1..) = read else { break };
        whole(&mut state).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

async fn whole(state: &mut watch::Receiver<Seen>) {
    let _ = state.wait_for(|(state, _)| *state == State::Whole).await;
}

async fn broken(state: &mut watch::Receiver<Seen>) {
    let _ = state.wait_for(|(state, _)| *state != State::Whole).await;
}
