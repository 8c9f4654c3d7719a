//! Reload of a listener's files: on request, and when they have changed.
//!
//! Promise: one reload at a time, so that the newest files win; a bad file leaves its previous certificate in force;
//! where nothing has changed nothing is replaced, so that clients keep their sessions.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_seconds as shown;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::load::{LoadedCertificate, load_roots};
use super::{Loaded, TlsError, TlsFiles, TlsReload, WHOLE, build};

impl TlsReload {
    /// Reads the files, after a reload that is running, and activates what is new. Returns how many certificates and
    /// client CAs are new. New ones and errors are logged.
    ///
    /// Cancel: a running reload goes on, takes effect and is logged.
    ///
    /// # Errors
    /// As [`TlsReload::load`], and for a new certificate outside its validity period while the previous one is valid.
    /// Where one of several is bad, its previous one stays in force and the others are new.
    pub async fn reload(self: &Arc<Self>) -> Result<usize, TlsError> {
        let read = self.exclusively(|this, last| {
            let activated = this.read_and_activate(last, Stamps::of(&this.files));
            // Logged here: the caller may be gone.
            if let Err(error) = &activated {
                tracing::error!(%error, "certificates not reloaded; the previous ones stay in force");
            }
            activated
        });
        read.await.unwrap_or(Err(TlsError::Panicked))
    }

    /// Checks the files `every` so often and reloads when one was replaced or written, until `stop`.
    ///
    /// An error is logged once and the files are read again at each check: tools that renew certificates
    /// write the chain and the key one after the other, and some write ahead of time.
    ///
    /// Cancel: harmless; a reload under way still takes effect.
    pub async fn watch(self: Arc<Self>, every: Duration, stop: CancellationToken) {
        let checks = async {
            loop {
                sleep(every).await;
                let mut check = pin!(self.exclusively(Self::check_files));
                let checked = match timeout(SLOW, &mut check).await {
                    Ok(checked) => checked,
                    Err(_) => {
                        let cert = self.files.pairs.first().map(|pair| pair.cert.display());
                        let cert = cert.map(tracing::field::display);
                        tracing::warn!(cert, "checking for new certificates takes long");
                        check.await
                    }
                };
                if checked.is_none() {
                    tracing::error!("checking for new certificates panicked");
                }
            }
        };
        // A file that hangs must not keep the server from stopping.
        stop.run_until_cancelled(checks).await;
    }

    /// Runs `work` on a blocking thread, one at a time. `None` where it panicked.
    async fn exclusively<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &mut LastRead) -> T + Send + 'static,
    ) -> Option<T> {
        let mut last: OwnedMutexGuard<LastRead> = Arc::clone(&self.last_read).lock_owned().await;
        let this = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&this, &mut last)).await.ok()
    }

    pub(super) fn check_files(&self, last: &mut LastRead) {
        // Taken before the load: what is written meanwhile counts as a change the next time.
        let stamps = Stamps::of(&self.files);
        let changed = stamps != last.stamps;
        if !changed && last.error.is_none() {
            return;
        }
        let reported = last.error.take();
        let activated = self.read_and_activate(last, stamps);
        if let Err(error) = activated
            && (changed || last.error != reported)
        {
            tracing::error!(%error, "new certificates rejected; the previous ones stay in force");
        }
    }

    /// Reads the files, which had these stamps before, and activates what is new; records the stamps and the error.
    fn read_and_activate(&self, last: &mut LastRead, stamps: Stamps) -> Result<usize, TlsError> {
        let new = self.reread();
        let activated = self.activate(&new.read);
        let activated = activated.and_then(|fresh| new.error.map_or(Ok(fresh), Err));
        *last = LastRead { stamps, error: activated.as_ref().err().map(ToString::to_string) };
        activated
    }

    /// Reads the files; where one is bad, its previous content is kept.
    fn reread(&self) -> Reread {
        let (old, now) = (self.read(), SystemTime::now());
        let mut errors = Vec::new();
        let mut pairs = Vec::new();
        for (pair, old) in self.files.pairs.iter().zip(old.pairs) {
            let activated = match LoadedCertificate::load(pair) {
                Ok(new) if !new.info.is_good(now) && old.info.is_good(now) => {
                    Err(TlsError::NotNow(pair.cert.clone(), new.info))
                }
                loaded => loaded.map_err(TlsError::Load),
            };
            pairs.push(activated.map_err(|error| errors.push(error)).unwrap_or(old));
        }
        let mut client_ca = old.client_ca;
        if let Some(path) = &self.files.client_ca {
            match load_roots(path) {
                Ok(roots) => client_ca = Some(roots),
                Err(error) => errors.push(TlsError::Load(vec![error])),
            }
        }
        let error = if errors.len() > 1 { Some(TlsError::Several(errors)) } else { errors.pop() };
        Reread { read: Loaded { pairs, client_ca }, error }
    }

    /// Puts what is new into force and returns how much that is. Where nothing is, clients keep their sessions.
    fn activate(&self, read: &Loaded) -> Result<usize, TlsError> {
        let old = self.read();
        let pairs = self.files.pairs.iter().zip(old.pairs.iter().zip(&read.pairs));
        // The chain determines the key: both were checked against each other.
        let new: Vec<_> = pairs
            .filter(|(_, (old, new))| old.certified.cert != new.certified.cert)
            .map(|(files, (_, new))| (&files.cert, new.info.not_after))
            .collect();
        let roots = |read: &Loaded| read.client_ca.as_ref().map(|all| all.roots.clone());
        let new_ca = self.files.client_ca.as_ref().filter(|_| roots(&old) != roots(read));
        let fresh = new.len() + usize::from(new_ca.is_some());
        if fresh == 0 {
            return Ok(0);
        }
        let fresh_one = build(&self.files, &self.time, read.clone())?;
        *self.current.write().expect(WHOLE) = fresh_one;
        for (cert, ends) in new {
            tracing::info!(cert = %cert.display(), ends = %shown(ends), "certificates reloaded");
        }
        if let Some(ca) = new_ca {
            tracing::info!(ca = %ca.display(), "client CA reloaded");
        }
        self.warn_of_times();
        Ok(fresh)
    }
}

/// What came of reading the files again.
struct Reread {
    read: Loaded,
    error: Option<TlsError>,
}

/// The files at the last check, and what was wrong with them.
#[derive(Debug)]
pub(super) struct LastRead {
    stamps: Stamps,
    pub(super) error: Option<String>,
}

impl LastRead {
    /// Files that are about to be read for the first time.
    pub(super) fn of(files: &TlsFiles) -> Self {
        Self { stamps: Stamps::of(files), error: None }
    }
}

/// One for each file; none for one that is not there.
#[derive(Debug, PartialEq, Eq)]
struct Stamps(Vec<Option<Stamp>>);

impl Stamps {
    fn of(files: &TlsFiles) -> Self {
        let pairs = files.pairs.iter().flat_map(|pair| [&pair.cert, &pair.key]);
        Self(pairs.chain(&files.client_ca).map(|file| Stamp::of(file).ok()).collect())
    }
}

/// What tells one version of a file from the next, also behind a symbolic link that was switched.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: SystemTime,
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: found.modified()?,
        })
    }
}

/// Some files are read at once; a disk that takes so long is worth a word.
const SLOW: Duration = Duration::from_secs(30);
