//! A `stint-platform` as a process.

use std::process::ExitStatus;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use stint_protocol::CreateTenant;
use stint_protocol::client::Client;

use super::process::Process;
use super::{ADMIN_KEY, Tenant};
use crate::place::until;

/// How long a dropped platform may take to stop its database.
const LAST_STOP: Duration = Duration::from_secs(10);

/// A `stint-platform`.
pub struct PlatformProcess {
    process: Process,
    /// Its address.
    pub url: String,
}

impl PlatformProcess {
    pub(super) async fn start(process: Process, port: u16) -> Self {
        let mut platform = Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
        };
        platform.restart().await;
        platform
    }

    /// Starts it again where it was, and waits until it is ready.
    ///
    /// # Panics
    /// When it ends instead.
    pub async fn restart(&mut self) {
        self.process.start();
        let client = Client::without_key(&self.url).expect("a url");
        until("the platform is ready", async || {
            assert_eq!(
                self.process.ended(),
                None,
                "the platform ended:\n{}",
                self.process.log()
            );
            let readiness = client.get_readiness().await;
            readiness.is_ok_and(|readiness| readiness.database && readiness.migrations)
        })
        .await;
    }

    /// Starts it again where it was, if it has ended, and does not wait for it. Tells whether it had.
    pub fn revive(&mut self) -> bool {
        let had_ended = self.process.has_ended();
        if had_ended {
            self.process.start();
        }
        had_ended
    }

    /// Kills it, and waits for its end.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Stops it in the middle of whatever it does.
    pub fn pause(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    /// Sends SIGTERM.
    pub fn ask_to_stop(&self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// Waits for the end after [`Self::ask_to_stop`].
    pub async fn stopped(&mut self) -> ExitStatus {
        self.process.end().await
    }

    /// Lets it end in order.
    ///
    /// # Panics
    /// When it ends badly.
    pub async fn terminate(&mut self) {
        self.ask_to_stop();
        let status = self.stopped().await;
        assert!(status.success(), "the platform ended with {status}");
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// A client with the admin key.
    ///
    /// # Panics
    /// Never: address and key are well formed.
    pub fn admin(&self) -> Client {
        Client::new(&self.url, ADMIN_KEY).expect("a url and a key")
    }

    /// A tenant of its own for one test.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn tenant(&self) -> Tenant {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let slug = format!("tenant-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let tenant = CreateTenant {
            name: slug.clone(),
            slug,
            request_id: None,
        };
        let made = self.admin().create_tenant(&tenant).await.expect("a tenant");
        Tenant {
            client: Client::new(&self.url, &made.admin_api_key).expect("a url and a key"),
            url: self.url.clone(),
            key: made.admin_api_key,
        }
    }
}

impl Drop for PlatformProcess {
    /// In order, because a database that is killed leaves files behind for a while.
    fn drop(&mut self) {
        if self.process.is_started() {
            self.process.signal(Signal::SIGTERM);
            let deadline = Instant::now() + LAST_STOP;
            while self.process.ended().is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
