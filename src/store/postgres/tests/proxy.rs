//! A way to the server that can be disturbed.

use std::sync::atomic::AtomicU8;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;

pub(crate) const OPEN: u8 = 0;
/// COMMIT reaches the server, its answer does not come back.
pub(crate) const LOSE_ANSWER: u8 = 1;
/// COMMIT does not reach the server.
pub(crate) const LOSE_COMMIT: u8 = 2;
/// Nothing goes through in either direction; it arrives when the hole is gone.
pub(crate) const HOLE: u8 = 3;

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

async fn carry(mut client: TcpStream, mut server: TcpStream, fault: &AtomicU8, reached: &AtomicU8) {
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
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
                let commits = up[..read].windows(7).any(|bytes| bytes == b"COMMIT\0");
                match fault.load(Ordering::SeqCst) {
                    LOSE_ANSWER if commits => {
                        server.write_all(&up[..read]).await.unwrap();
                        // The server has done it when it answers.
                        let _ = server.read(&mut down).await;
                        reached.fetch_add(1, Ordering::SeqCst);
                        fault.store(OPEN, Ordering::SeqCst);
                        return;
                    }
                    LOSE_COMMIT if commits => {
                        reached.fetch_add(1, Ordering::SeqCst);
                        fault.store(OPEN, Ordering::SeqCst);
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
