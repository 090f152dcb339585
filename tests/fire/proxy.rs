//! A way to PostgreSQL that can be disturbed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Nothing,
    /// Each connection is cut after some bytes, which are others for each: within a message as well as between two.
    Cut,
    /// Every other commit is done, and its answer does not come back.
    LoseAnswers,
    /// Nothing goes through in either direction; it arrives when the hole is gone.
    BlackHole,
}

/// Bytes after which connections are cut: as many as this at most.
const LONGEST: u64 = 24_000;

pub struct Proxy {
    pub port: u16,
    fault: watch::Sender<Fault>,
    reached: Arc<AtomicU64>,
}

impl Proxy {
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Self { port, fault: watch::Sender::new(Fault::Nothing), reached: Arc::default() };
        let (fault, reached) = (proxy.fault.subscribe(), Arc::clone(&proxy.reached));
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                number += 1;
                let way = Way {
                    fault: fault.clone(),
                    reached: Arc::clone(&reached),
                    number,
                    carried: 0,
                    in_transaction: false,
                    commits: 0,
                };
                tokio::spawn(way.carry(client, server));
            }
        });
        proxy
    }

    /// Begins a fault, or heals. Gives how often the last one was reached.
    pub fn set(&self, fault: Fault) -> u64 {
        self.fault.send_replace(fault);
        self.reached.swap(0, Ordering::SeqCst)
    }
}

struct Way {
    fault: watch::Receiver<Fault>,
    reached: Arc<AtomicU64>,
    number: u64,
    carried: u64,
    in_transaction: bool,
    commits: u64,
}

impl Way {
    async fn carry(mut self, mut client: TcpStream, mut server: TcpStream) {
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        let mut loses_the_answer = false;
        loop {
            tokio::select! {
                read = client.read(&mut up) => {
                    let Ok(read @ 1..) = read else { return };
                    let bytes = &up[..read];
                    let Some(bytes) = self.passes(bytes).await else { return };
                    loses_the_answer |= self.loses(bytes);
                    if server.write_all(bytes).await.is_err() {
                        return;
                    }
                    if (bytes.len()) < read {
                        return;
                    }
                }
                read = server.read(&mut down) => {
                    let Ok(read @ 1..) = read else { return };
                    if loses_the_answer {
                        // The server has done it when it answers.
                        self.reached.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    let Some(bytes) = self.passes(&down[..read]).await else { return };
                    if client.write_all(bytes).await.is_err() || bytes.len() < read {
                        return;
                    }
                }
            }
        }
    }

    /// As much of `bytes` as is let through, when it is.
    async fn passes<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let fault = *self.fault.borrow_and_update();
        match fault {
            Fault::Nothing | Fault::LoseAnswers => Some(bytes),
            Fault::BlackHole => {
                self.reached.fetch_add(1, Ordering::SeqCst);
                self.fault.wait_for(|fault| *fault != Fault::BlackHole).await.ok()?;
                Some(bytes)
            }
            Fault::Cut => {
                let left = (self.number * 7_919 % LONGEST).saturating_sub(self.carried);
                let length = u64::try_from(bytes.len()).unwrap();
                self.carried += length;
                if left >= length {
                    return Some(bytes);
                }
                self.reached.fetch_add(1, Ordering::SeqCst);
                Some(&bytes[..usize::try_from(left).unwrap()])
            }
        }
    }

    /// Whether these bytes are a commit whose answer is to be lost: COMMIT, or a statement that writes history outside of a
    /// transaction, and so is one by itself.
    fn loses(&mut self, bytes: &[u8]) -> bool {
        let says = |words: &[u8]| bytes.windows(words.len()).any(|part| part == words);
        let commits = says(b"COMMIT\0") || (!self.in_transaction && says(b"{\"event\":\""));
        self.in_transaction = says(b"BEGIN\0") || (self.in_transaction && !commits && !says(b"ROLLBACK\0"));
        self.commits += u64::from(commits);
        commits && *self.fault.borrow() == Fault::LoseAnswers && self.commits.is_multiple_of(2)
    }
}
