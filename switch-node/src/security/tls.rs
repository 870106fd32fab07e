//! TLS material: one plane's certificate, key, roots and revocation lists, read from files and re-read when they change.
//!
//! Takes paths; gives the rustls configurations of now, for accepting and for connecting. TLS 1.3 on ring, client
//! certificates mandatory, no resumption and no early data: every connection proves its certificate anew. A file that
//! cannot be used never replaces one that can: what is in use stays in its place, with a warning and an event, and the other
//! files are used. A node whose certificate has ended, or beside whose list another one is stale, still enforces a revocation.
//!
//! Every connection made with a material is registered with it ([`live`]) and verified again when the files change, so that
//! a revoked, expired or no longer trusted certificate loses the connections it already has.

pub mod connector;
mod files;
pub mod live;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use notify::{EventKind, RecursiveMode, Watcher as _, event::AccessKind};
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use tokio::{net::TcpStream, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::telemetry::{self, Cut};
use files::{Configuration, Content};
pub use files::{TlsFault, TlsFiles, TlsPart};
use live::{Guarded, Registry, Severed, Side};

/// What happened to a material or to a connection made with it; for counters.
#[derive(Debug)]
pub enum TlsEvent<'a> {
    /// New files are in use.
    Reloaded,
    /// A new file cannot be used; what it was to replace stays in use.
    ReloadRefused(&'a TlsFault),
    /// A live connection was cut.
    Severed(Severed),
}

/// What a look at the files came to. Both where some of them are used and another cannot be.
#[derive(Debug, Default)]
pub struct Reload {
    /// New files are in use.
    pub changed: bool,
    /// The first new file that cannot be used. What it was to replace stays in use.
    pub fault: Option<TlsFault>,
}

/// Sees every event, on the thread where it happens; must not block.
pub type TlsObserver = Arc<dyn Fn(&'static str, &TlsEvent<'_>) + Send + Sync>;

/// Counts what happens to the material of `plane`.
pub fn counted(plane: &'static str) -> TlsObserver {
    telemetry::tls_known(plane);
    Arc::new(|plane, event| match event {
        TlsEvent::Reloaded => telemetry::tls_reloaded(plane, true),
        TlsEvent::ReloadRefused(_) => telemetry::tls_reloaded(plane, false),
        TlsEvent::Severed(severed) => {
            let why = match severed {
                Severed::Revoked => Cut::Revoked,
                Severed::Expired => Cut::Expired,
                Severed::NoLongerTrusted => Cut::Untrusted,
            };
            telemetry::tls_cut(plane, why);
        }
    })
}

/// One plane's material: the configuration of now and the connections made with it. Cheap to share, never fails once loaded.
pub struct TlsMaterial {
    plane: &'static str,
    files: TlsFiles,
    current: ArcSwap<Configuration>,
    live: Registry,
    /// The content that was refused last, so that it is reported once and not at every poll.
    refused: Mutex<Option<[u8; 32]>>,
    reloads_refused: AtomicU64,
    observer: TlsObserver,
}

impl TlsMaterial {
    /// Reads the files. `plane` names the material in logs and events.
    pub fn load(plane: &'static str, files: TlsFiles) -> Result<Arc<Self>, TlsFault> {
        Self::load_observed(plane, files, Arc::new(|_, _| {}))
    }

    /// Reads the files; `observer` is told what becomes of them later.
    pub fn load_observed(plane: &'static str, files: TlsFiles, observer: TlsObserver) -> Result<Arc<Self>, TlsFault> {
        let content = Content::read(&files);
        let digest = content.digest;
        let (parts, _) = content.parts(&files, None, SystemTime::now())?;
        let configuration = parts.configure(&files, 0, Some(digest))?;
        Ok(Arc::new(Self {
            plane,
            files,
            current: ArcSwap::from_pointee(configuration),
            live: Registry::default(),
            refused: Mutex::new(None),
            reloads_refused: AtomicU64::new(0),
            observer,
        }))
    }

    /// The name given at load.
    pub fn plane(&self) -> &'static str {
        self.plane
    }

    /// The end of the node's own certificate.
    pub fn not_after(&self) -> SystemTime {
        self.current.load().parts.leaf().not_after
    }

    /// The serial number of the node's own certificate.
    pub fn serial(&self) -> String {
        self.current.load().parts.leaf().serial.clone()
    }

    /// When the first of the revocation lists goes stale and with it every new connection, if there are lists.
    pub fn revocation_stale_at(&self) -> Option<SystemTime> {
        self.current.load().parts.revocation_stale_at()
    }

    /// Shows in the metrics how long what the files hold is good.
    pub fn show_ends(&self) {
        let (current, now) = (self.current.load(), SystemTime::now());
        let files = [
            ("certificate", Some(current.parts.leaf().not_after)),
            ("roots", current.parts.roots_not_after()),
            ("revocation_lists", current.parts.revocation_stale_at()),
        ];
        for (file, end) in files.into_iter().filter_map(|(file, end)| Some((file, end?))) {
            let left = match end.duration_since(now) {
                Ok(left) => left.as_secs_f64(),
                Err(ended) => -ended.duration().as_secs_f64(),
            };
            telemetry::certificate_expires(self.plane, file, left);
        }
    }

    /// How often new files were refused since the start.
    pub fn reloads_refused(&self) -> u64 {
        self.reloads_refused.load(Ordering::Relaxed)
    }

    /// How many connections made with this material are alive.
    pub fn connections(&self) -> usize {
        self.live.len()
    }

    /// The server's half of a handshake, with the configuration of now. The caller bounds the time it may take.
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<Guarded<tokio_rustls::server::TlsStream<TcpStream>>> {
        let configuration = self.current.load_full();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&configuration.server));
        let stream = acceptor.accept(tcp).await?;
        let chain = stream.get_ref().1.peer_certificates().map(owned).unwrap_or_default();
        self.guard(stream, chain, Side::Client, &configuration)
    }

    /// Re-reads the files and, if their content changed, uses it and verifies every live connection again.
    /// Blocks for file reads and signatures.
    pub fn reload(&self) -> Reload {
        let content = Content::read(&self.files);
        let (digest, current) = (content.digest, self.current.load_full());
        if current.digest == Some(digest) {
            *self.refused.lock() = None;
            return Reload::default();
        }
        let now = SystemTime::now();
        let (parts, fault) = match content.parts(&self.files, Some(&current.parts), now) {
            Ok(taken) => taken,
            Err(fault) => return Reload { changed: false, fault: Some(fault) },
        };
        let changed = fault.is_none() || !parts.same_as(&current.parts);
        if changed {
            let generation = current.generation.wrapping_add(1);
            match parts.configure(&self.files, generation, fault.is_none().then_some(digest)) {
                Ok(configuration) => self.current.store(Arc::new(configuration)),
                Err(fault) => return Reload { changed: false, fault: Some(fault) },
            }
            // Connections that registered before the store are seen here, later ones see the new generation themselves.
            self.verify_live(now);
        }
        if fault.is_none() {
            *self.refused.lock() = None;
        }
        Reload { changed, fault }
    }

    /// Keeps the material fresh until `shutdown`: looks at the files when their folders change and every `poll`,
    /// and cuts connections whose certificate ended. Runs once per material, in a task of the node; without it
    /// nothing is reloaded and nothing is cut.
    pub async fn watch(self: Arc<Self>, poll: Duration, shutdown: CancellationToken) {
        let (changed, mut changes) = mpsc::channel(1);
        // Without a watcher (no inotify instance left) the poll alone still keeps the promise of 60 s.
        let _watcher = self
            .watch_folders(changed.clone())
            .inspect_err(|e| tracing::warn!(plane = self.plane, error = %e, "TLS folders are polled, not watched"));
        loop {
            let material = Arc::clone(&self);
            // The first look is for what changed since the load. A panic in there is reported by the process's hook; the
            // next round tries again.
            let _ = tokio::task::spawn_blocking(move || material.refresh()).await;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                _ = changes.recv() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(poll) => {}
            }
        }
    }

    /// One round of [`Self::watch`].
    pub(crate) fn refresh(&self) {
        let Reload { changed, fault } = self.reload();
        if changed {
            tracing::info!(plane = self.plane, serial = %self.serial(), "TLS material reloaded");
            (self.observer)(self.plane, &TlsEvent::Reloaded);
        }
        if let Some(fault) = fault {
            self.refuse(&fault);
        }
        self.cut_expired(SystemTime::now());
    }

    /// Reports a refusal once for each content.
    fn refuse(&self, fault: &TlsFault) {
        let digest = Content::read(&self.files).digest;
        if self.refused.lock().replace(digest) == Some(digest) {
            return;
        }
        self.reloads_refused.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(plane = self.plane, error = %fault, "a TLS file is not usable, what it was to replace stays in use");
        (self.observer)(self.plane, &TlsEvent::ReloadRefused(fault));
    }

    fn watch_folders(&self, changed: mpsc::Sender<()>) -> notify::Result<notify::RecommendedWatcher> {
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the files is an event too, and would wake us for ever.
            let is_change = event.is_ok_and(|event| match event.kind {
                EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) => true,
                EventKind::Access(access) => matches!(access, AccessKind::Close(notify::event::AccessMode::Write)),
                EventKind::Any | EventKind::Other => false,
            });
            if is_change {
                // Full means that a look is due already.
                let _ = changed.try_send(());
            }
        })?;
        let mut folders: Vec<&Path> = self.files.paths().filter_map(Path::parent).collect();
        folders.sort_unstable();
        folders.dedup();
        for folder in folders {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    }

    /// Registers a stream whose handshake was made with `configuration`.
    fn guard<S>(
        &self,
        stream: S,
        chain: Vec<CertificateDer<'static>>,
        side: Side,
        configuration: &Configuration,
    ) -> io::Result<Guarded<S>> {
        let guarded = self.live.guard(stream, chain, side)?;
        let now_used = self.current.load();
        if now_used.generation != configuration.generation
            && let Some(severed) = now_used.verify(guarded.connection(), SystemTime::now())
        {
            (self.observer)(self.plane, &TlsEvent::Severed(severed));
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, severed));
        }
        Ok(guarded)
    }

    fn verify_live(&self, now: SystemTime) {
        let current = self.current.load_full();
        self.sever(|connection| current.verify(connection, now));
    }

    fn cut_expired(&self, now: SystemTime) {
        self.sever(|connection| (connection.not_after() < now).then_some(Severed::Expired));
    }

    fn sever(&self, verdict: impl Fn(&live::Connection) -> Option<Severed>) {
        for connection in self.live.all() {
            if let Some(severed) = verdict(&connection)
                && connection.sever(severed)
            {
                tracing::warn!(plane = self.plane, serial = connection.serial(), %severed, "connection cut");
                (self.observer)(self.plane, &TlsEvent::Severed(severed));
            }
        }
    }
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsMaterial").field("plane", &self.plane).field("files", &self.files).finish_non_exhaustive()
    }
}

fn owned(chain: &[CertificateDer<'_>]) -> Vec<CertificateDer<'static>> {
    chain.iter().map(|certificate| certificate.clone().into_owned()).collect()
}

/// How often the files are looked at whatever the watcher says, unless the configuration says otherwise; bounds how late a
/// revocation is seen.
pub const POLL: Duration = Duration::from_secs(5);
/// From the first sign of a change to the look, so that certificate and key are both written.
const SETTLE: Duration = Duration::from_millis(200);
