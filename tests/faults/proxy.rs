//! A wire that can be cut: carries bytes between two processes, and spoils them as a test wants.
//!
//! ```text
//! client ── near ──► Proxy ── far ──► server        the effect holds for all connections at once,
//!        ◄── answers ──┘  ◄───────                  also for those that are open, and can change any time
//! ```

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::dice::Dice;

/// What is carried at once.
const PIECE_BYTES: usize = 16 * 1024;

/// When a server that asks by keepalive learns that a connection was forgotten.
const SERVER_FINDS_OUT: Duration = Duration::from_secs(25);

/// Where a proxy leads.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A port of this machine.
    Port(u16),
    /// A socket file.
    Socket(PathBuf),
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Requests,
    Answers,
}

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// They arrive.
    Pass,
    /// They arrive late: each piece by this long, and by chance up to so much longer.
    Delay { least: Duration, jitter: Duration },
    /// A connection breaks once so many have come from the server.
    CutAfter(usize),
    /// Those of one way are stuck until the effect ends; then they arrive.
    Stuck(Way),
    /// All are stuck until the effect ends; then they arrive.
    BlackHole,
    /// The server is told that the client has gone; the client is told nothing, as when a machine between
    /// the two loses its memory. When the effect ends the client hears of it.
    HalfOpen,
    /// Connections that are open fall silent for good, as when a machine in between was replaced by one that knows
    /// nothing of them. The server finds out after a while; the client is never told. New ones work.
    Forgotten,
    /// A request is thrown away with its connection: it never happened.
    DropRequest,
    /// A request happens; its answer is thrown away with the connection.
    DropAnswer,
    /// Connections are closed, and new ones too.
    Refuse,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A listening port in front of a server. Dropping it ends its connections.
pub(crate) struct Proxy {
    port: u16,
    effect: watch::Sender<Effect>,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// Starts one that lets everything pass. The seed decides about jitter.
    pub(crate) async fn start(target: Target, dice: Dice) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (effect, effects) = watch::channel(Effect::Pass);
        let listening = tokio::spawn(listen(listener, target, effects, dice));
        Self {
            port,
            effect,
            listening,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn set(&self, effect: Effect) {
        self.effect.send_replace(effect);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(
    listener: TcpListener,
    target: Target,
    effects: watch::Receiver<Effect>,
    dice: Dice,
) {
    let mut connections = tokio::task::JoinSet::new();
    for number in 0.. {
        let Ok((near, _)) = listener.accept().await else {
            continue;
        };
        let (target, effects, dice) = (target.clone(), effects.clone(), dice.fork(number));
        connections.spawn(carry(near, target, effects, dice));
        while connections.try_join_next().is_some() {}
    }
}

async fn reach(target: &Target) -> std::io::Result<Box<dyn Stream>> {
    Ok(match target {
        Target::Port(port) => {
            let far = TcpStream::connect(("127.0.0.1", *port)).await?;
            far.set_nodelay(true)?;
            Box::new(far)
        }
        Target::Socket(path) => Box::new(UnixStream::connect(path).await?),
    })
}

/// Carries one connection to its end.
async fn carry(near: TcpStream, target: Target, mut effects: watch::Receiver<Effect>, dice: Dice) {
    if *effects.borrow() == Effect::Refuse || near.set_nodelay(true).is_err() {
        return;
    }
    let mut closing = effects.clone();
    // As on a real network, a connection can only be made while packets get through.
    let stuck = |effect: &Effect| matches!(effect, Effect::BlackHole | Effect::Stuck(_));
    if effects.wait_for(|effect| !stuck(effect)).await.is_err() {
        return;
    }
    let (mut near_in, mut near_out) = near.into_split();
    let end = {
        let Ok(far) = reach(&target).await else {
            return;
        };
        let (mut far_in, mut far_out) = tokio::io::split(far);
        let there = pump(
            Way::Requests,
            &mut near_in,
            &mut far_out,
            effects.clone(),
            dice.fork(1),
        );
        let back = pump(
            Way::Answers,
            &mut far_in,
            &mut near_out,
            effects.clone(),
            dice.fork(2),
        );
        let ends = async {
            // Whoever comes after the others were forgotten is not forgotten with them.
            if closing
                .wait_for(|effect| *effect != Effect::Forgotten)
                .await
                .is_err()
            {
                return Effect::Refuse;
            }
            let end = |effect: &Effect| {
                matches!(
                    effect,
                    Effect::HalfOpen | Effect::Forgotten | Effect::Refuse
                )
            };
            closing
                .wait_for(end)
                .await
                .map_or(Effect::Refuse, |end| *end)
        };
        let end = tokio::select! {
            () = there => return,
            () = back => return,
            end = ends => end,
        };
        if end == Effect::Forgotten {
            tokio::time::sleep(SERVER_FINDS_OUT).await;
        }
        end
    };
    // The far side is closed now; the near one stays as it is until the effect ends, or for good.
    if end == Effect::Forgotten {
        std::future::pending::<()>().await;
    }
    drop(effects.wait_for(|effect| *effect != Effect::HalfOpen).await);
}

/// Carries one way of a connection until something ends it.
async fn pump(
    way: Way,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut effects: watch::Receiver<Effect>,
    mut dice: Dice,
) {
    let mut piece = vec![0; PIECE_BYTES];
    let mut carried = 0;
    loop {
        let Ok(count @ 1..) = from.read(&mut piece).await else {
            return;
        };
        let is_stuck =
            |effect: &Effect| matches!(effect, Effect::BlackHole) || *effect == Effect::Stuck(way);
        let effect = match effects.wait_for(|effect| !is_stuck(effect)).await {
            Ok(effect) => *effect,
            Err(_) => return,
        };
        let mut allowed = count;
        match effect {
            Effect::Delay { least, jitter } => {
                let jitter = u64::try_from(jitter.as_millis()).expect("short");
                tokio::time::sleep(least + dice.millis(0, jitter)).await;
            }
            Effect::CutAfter(bytes) if way == Way::Answers => {
                allowed = count.min(bytes.saturating_sub(carried));
            }
            Effect::DropRequest if way == Way::Requests => return,
            Effect::DropAnswer if way == Way::Answers => return,
            _ => {}
        }
        if to.write_all(&piece[..allowed]).await.is_err() || allowed < count {
            return;
        }
        carried += allowed;
    }
}

#[cfg(test)]
mod tests {
    use stint_tests::until;
    use tokio::time::timeout;

    use super::*;

    /// A server that answers every piece with itself, and counts what it has heard.
    async fn echo() -> (u16, watch::Receiver<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heard, hears) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let heard = heard.clone();
                tokio::spawn(async move {
                    let mut piece = [0; 1024];
                    while let Ok(count @ 1..) = stream.read(&mut piece).await {
                        heard.send_modify(|sum| *sum += count);
                        if stream.write_all(&piece[..count]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (port, hears)
    }

    async fn proxy() -> (Proxy, watch::Receiver<usize>) {
        let (port, heard) = echo().await;
        (Proxy::start(Target::Port(port), Dice::new(1)).await, heard)
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(("127.0.0.1", proxy.port()))
            .await
            .unwrap()
    }

    /// Says four bytes and reads what comes back before the connection ends or falls silent.
    async fn say(stream: &mut TcpStream) -> Option<Vec<u8>> {
        stream.write_all(b"ping").await.ok()?;
        let mut answer = vec![0; 4];
        match timeout(Duration::from_millis(400), stream.read(&mut answer)).await {
            Ok(Ok(count)) => {
                answer.truncate(count);
                Some(answer)
            }
            Ok(Err(_)) => Some(Vec::new()),
            Err(_) => None,
        }
    }

    #[tokio::test]
    async fn what_passes_arrives_at_once_and_what_is_delayed_later() {
        let (proxy, _) = proxy().await;
        let mut stream = connect(&proxy).await;
        assert_eq!(say(&mut stream).await.as_deref(), Some(&b"ping"[..]));
        let delay = Duration::from_millis(60);
        proxy.set(Effect::Delay {
            least: delay,
            jitter: delay,
        });
        let began = std::time::Instant::now();
        assert_eq!(say(&mut stream).await.as_deref(), Some(&b"ping"[..]));
        assert!(began.elapsed() >= delay * 2, "there and back");
    }

    #[tokio::test]
    async fn a_connection_is_cut_in_the_middle_of_an_answer() {
        let (proxy, _) = proxy().await;
        proxy.set(Effect::CutAfter(2));
        let mut stream = connect(&proxy).await;
        assert_eq!(say(&mut stream).await.as_deref(), Some(&b"pi"[..]));
        assert_eq!(stream.read(&mut [0; 4]).await.unwrap_or(0), 0, "it ended");
    }

    #[tokio::test]
    async fn a_dropped_request_never_happened_and_a_dropped_answer_did() {
        let (proxy, heard) = proxy().await;
        proxy.set(Effect::DropRequest);
        assert_eq!(say(&mut connect(&proxy).await).await, Some(Vec::new()));
        assert_eq!(*heard.borrow(), 0);
        proxy.set(Effect::DropAnswer);
        assert_eq!(say(&mut connect(&proxy).await).await, Some(Vec::new()));
        assert_eq!(*heard.borrow(), 4);
    }

    #[tokio::test]
    async fn what_was_stuck_arrives_when_the_wire_is_whole_again() {
        let (proxy, heard) = proxy().await;
        for effect in [
            Effect::BlackHole,
            Effect::Stuck(Way::Requests),
            Effect::Stuck(Way::Answers),
        ] {
            proxy.set(Effect::Pass);
            let mut stream = connect(&proxy).await;
            say(&mut stream).await.unwrap();
            let before = *heard.borrow();
            proxy.set(effect);
            assert_eq!(say(&mut stream).await, None, "{effect:?}");
            let hears = effect == Effect::Stuck(Way::Answers);
            assert_eq!(*heard.borrow() > before, hears, "{effect:?}");
            proxy.set(Effect::Pass);
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"ping");
        }
    }

    #[tokio::test]
    async fn a_half_open_connection_is_silent_until_somebody_tells() {
        let (proxy, _) = proxy().await;
        let mut stream = connect(&proxy).await;
        say(&mut stream).await.unwrap();
        proxy.set(Effect::HalfOpen);
        assert_eq!(say(&mut stream).await, None);
        proxy.set(Effect::Pass);
        until("the connection has ended", async || {
            say(&mut stream)
                .await
                .is_none_or(|answer| answer.is_empty())
        })
        .await;
    }

    #[tokio::test]
    async fn forgotten_connections_stay_silent_and_new_ones_work() {
        let (proxy, heard) = proxy().await;
        let mut old = connect(&proxy).await;
        say(&mut old).await.unwrap();
        proxy.set(Effect::Forgotten);
        assert_eq!(say(&mut old).await, None);
        let mut new = connect(&proxy).await;
        assert_eq!(say(&mut new).await.as_deref(), Some(&b"ping"[..]));
        proxy.set(Effect::Pass);
        assert_eq!(say(&mut old).await, None);
        assert_eq!(say(&mut new).await.as_deref(), Some(&b"ping"[..]));
        assert_eq!(*heard.borrow(), 12, "nothing came from the old one");
    }

    #[tokio::test]
    async fn a_closed_proxy_ends_old_and_new_connections() {
        let (proxy, _) = proxy().await;
        let mut stream = connect(&proxy).await;
        say(&mut stream).await.unwrap();
        proxy.set(Effect::Refuse);
        assert_eq!(stream.read(&mut [0; 4]).await.unwrap_or(0), 0);
        assert!(
            say(&mut connect(&proxy).await)
                .await
                .is_none_or(|answer| answer.is_empty())
        );
    }
}
