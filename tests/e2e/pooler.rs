//! A connection pooler in transaction mode, as small as one can be.
//!
//! Each client logs in through a server connection of its own, which then joins the pool. From
//! there on a client holds a server connection only from its first message to the next
//! ReadyForQuery outside a transaction.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// The last one given back is the first one lent, as PgBouncer does.
type Idle = Arc<Mutex<Vec<UnixStream>>>;

/// Starts a pooler in front of the server and returns its port on this machine.
pub(crate) async fn start(server: &PgConnectOptions) -> u16 {
    let folder = server.get_socket().expect("a server on a socket");
    let socket = folder.join(format!(".s.PGSQL.{}", server.get_port()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("a bound socket").port();
    let idle = Idle::default();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (idle, socket) = (Arc::clone(&idle), socket.clone());
            // A client that leaves ends its own loop with an error, which is nobody's concern.
            tokio::spawn(async move { serve(client, socket, idle).await.ok() });
        }
    });
    port
}

async fn serve(mut client: TcpStream, socket: PathBuf, idle: Idle) -> anyhow::Result<()> {
    let mut server = UnixStream::connect(socket).await?;
    server.write_all(&untagged(&mut client).await?).await?;
    loop {
        let (answer, is_free) = message(&mut server).await?;
        client.write_all(&answer).await?;
        match answer[0] {
            b'Z' if is_free => break,
            // The client's turn in the exchange of the password: after a request for it (10) and
            // for each further step (11), not after the last words (12) or the welcome (0).
            b'R' if matches!(answer[8], 10 | 11) => {
                server.write_all(&message(&mut client).await?.0).await?;
            }
            _ => {}
        }
    }
    idle.lock().expect("no panic under the lock").push(server);
    loop {
        let mut request = message(&mut client).await?.0;
        if request[0] == b'X' {
            return Ok(());
        }
        let lent = idle.lock().expect("no panic under the lock").pop();
        let mut server = lent.context("the pool is empty")?;
        loop {
            server.write_all(&request).await?;
            // Only Query and Sync are followed by ReadyForQuery; other messages lead up to them.
            if matches!(request[0], b'Q' | b'S') {
                let is_free = loop {
                    let (answer, free_now) = message(&mut server).await?;
                    client.write_all(&answer).await?;
                    if answer[0] == b'Z' {
                        break free_now;
                    }
                };
                if is_free {
                    break;
                }
            }
            request = message(&mut client).await?.0;
        }
        idle.lock().expect("no panic under the lock").push(server);
    }
}

/// Reads one message with its tag, and whether it says "ready, outside a transaction".
async fn message(from: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<(Vec<u8>, bool)> {
    let tag = from.read_u8().await?;
    let mut whole = vec![tag];
    whole.extend(untagged(from).await?);
    let is_free = tag == b'Z' && whole.last() == Some(&b'I');
    Ok((whole, is_free))
}

/// Reads a length, which counts itself, and what follows.
async fn untagged(from: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut whole = length.to_be_bytes().to_vec();
    whole.resize(usize::try_from(length)?, 0);
    from.read_exact(&mut whole[4..]).await?;
    Ok(whole)
}
