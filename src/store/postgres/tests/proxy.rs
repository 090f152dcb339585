//! A way to the server that can be disturbed.

use std::sync::atomic::AtomicU8;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;

pub(crate) const OPEN: u8 = 0;
/// A commit reaches the server, its answer does not come back.
pub(crate) const LOSE_ANSWER: u8 = 1;
/// A commit does not reach the server.
pub(crate) const LOSE_COMMIT: u8 = 2;
/// Nothing goes through in either direction; it arrives when the hole is gone.
pub(crate) const HOLE: u8 = 3;
/// A commit reaches the server when its sender has long given it up.
pub(crate) const DELAY_COMMIT: u8 = 4;

/// A way to the server that can be disturbed.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    pub(crate) fault: Arc<AtomicU8>,
    /// Times that a fault was reached.
    pub(crate) reached: Arc<AtomicU8>,
}

impl Proxy {
    pub(crate) async fn start(address: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (fault, reached) = (Arc::new(AtomicU8::new(OPEN)), Arc::new(AtomicU8::new(0)));
        let proxy = Self { port, fault: Arc::clone(&fault), reached: Arc::clone(&reached) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (address, fault, reached) = (address.clone(), Arc::clone(&fault), Arc::clone(&reached));
                tokio::spawn(async move {
                    let server = TcpStream::connect(address).await.unwrap();
                    carry(client, server, &fault, &reached).await;
                });
            }
        });
        proxy
    }
}

/// Sees commits go by: COMMIT, and the writing of history by a statement that is a transaction by itself.
#[derive(Default)]
struct Sees {
    in_transaction: bool,
}

impl Sees {
    fn commits(&mut self, bytes: &[u8]) -> bool {
        let says = |words: &[u8]| bytes.windows(words.len()).any(|part| part == words);
        let commit = says(b"COMMIT\0") || (!self.in_transaction && says(b"\"event\":\"step-succeeded\""));
        self.in_transaction = says(b"BEGIN\0") || (self.in_transaction && !commit && !says(b"ROLLBACK\0"));
        commit
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, fault: &AtomicU8, reached: &AtomicU8) {
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    let mut sees = Sees::default();
    let hole = async || {
        let held = fault.load(Ordering::SeqCst) == HOLE;
        reached.fetch_add(u8::from(held), Ordering::SeqCst);
        while fault.load(Ordering::SeqCst) == HOLE {
            pause(Duration::from_millis(2)).await;
        }
    };
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(read @ 1..) = read else { return };
                hole().await;
                let fault = if sees.commits(&up[..read]) { fault.swap(OPEN, Ordering::SeqCst) } else { OPEN };
                reached.fetch_add(u8::from(fault != OPEN), Ordering::SeqCst);
                match fault {
                    LOSE_ANSWER => {
                        server.write_all(&up[..read]).await.unwrap();
                        // The server has done it when it answers.
                        let _ = server.read(&mut down).await;
                        return;
                    }
                    LOSE_COMMIT => return,
                    DELAY_COMMIT => {
                        drop(client);
                        pause(Duration::from_millis(500)).await;
                        server.write_all(&up[..read]).await.unwrap();
                        let read = server.read(&mut down).await.unwrap();
                        // 22012: it did not find what it was to prove.
                        assert!(down[..read].windows(5).any(|code| code == b"22012"), "a late commit was done");
                        reached.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    _ => if server.write_all(&up[..read]).await.is_err() { return },
                }
            }
            read = server.read(&mut down) => {
                let Ok(read @ 1..) = read else { return };
                hole().await;
                if client.write_all(&down[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}
