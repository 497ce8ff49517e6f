//! The web configuration file, followed while it changes.
//!
//! The file and those that it names are read every second and compared with
//! what is in force. Contents rather than times of change are compared: that is
//! right on every file system, and the files are small. What cannot be used
//! leaves everything as it is, and so does what is not read twice: a file that
//! is being written may be right up to where it has come.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task;
use tokio::time::sleep;
use tracing::{info, warn};

use super::policy::Policy;
use crate::config::{ConfigError, Place, Problem, WebFile};
use crate::listener::{Listener, WebFileState};

/// Between two readings; a change holds from the second on that has it.
const INTERVAL: Duration = Duration::from_secs(1);

/// Why a file is refused that keeps out fewer than the one in force.
const GONE: &str = "this keeps strangers out and is not in the file any more; write it again, or restart the exporter if \
                    they may come in";

/// Who may come in, now and after each change of the file.
pub struct Access {
    path: Option<PathBuf>,
    policy: watch::Sender<Arc<Policy>>,
    counts: Arc<Listener>,
}

impl Access {
    /// Reads the web configuration file at `path`; without one, everybody may come in over plain HTTP.
    ///
    /// # Errors
    ///
    /// When the file, or one that it names, cannot be used.
    pub fn load(path: Option<&Path>, counts: Arc<Listener>) -> Result<Self, ConfigError> {
        let access = Self {
            path: path.map(Path::to_owned),
            policy: watch::Sender::new(Arc::default()),
            counts,
        };
        if let Some(path) = path {
            access.apply(path, WebFile::load(path)?)?;
        }
        Ok(access)
    }

    /// What is in force, now and later.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Policy>> {
        self.policy.subscribe()
    }

    pub(super) fn counts(&self) -> &Arc<Listener> {
        &self.counts
    }

    /// Follows the file, without end.
    pub(super) async fn follow(&self) -> Infallible {
        let Some(path) = &self.path else {
            return std::future::pending().await;
        };
        let (mut fault, mut seen) = (None, None);
        loop {
            sleep(INTERVAL).await;
            let read = path.clone();
            let loaded = match task::spawn_blocking(move || WebFile::load(&read)).await {
                Ok(loaded) => loaded.map_err(|error| error.to_string()),
                Err(panic) => {
                    Err(format!("{} was not read, which is a defect: {panic}", path.display()))
                }
            };
            if seen.as_ref() != Some(&loaded) {
                seen = Some(loaded);
                continue;
            }
            let applied =
                loaded.and_then(|file| self.apply(path, file).map_err(|error| error.to_string()));
            match applied {
                Ok(is_new) => {
                    if is_new || fault.is_some() {
                        info!(file = %path.display(), "the web configuration file is in force");
                    }
                    fault = None;
                    self.counts.file_is_current(true);
                }
                Err(error) => {
                    if fault.as_ref() != Some(&error) {
                        warn!(
                            "what was read of the web configuration before stays in force: {error}"
                        );
                    }
                    fault = Some(error);
                    self.counts.file_is_current(false);
                }
            }
        }
    }

    /// Puts `file` in force, if it is another one; says whether it was.
    fn apply(&self, path: &Path, file: WebFile) -> Result<bool, ConfigError> {
        let old = Arc::clone(&self.policy.borrow());
        if old.file.as_ref() == Some(&file) {
            return Ok(false);
        }
        let problem = |key: &str, reason| {
            let (origin, key) = (path.display().to_string(), key.to_owned());
            Problem { place: Place { origin, key, target: None }, reason }
        };
        // A file that was cut short is a right one as well, and asks nobody for anything.
        let before = old.file.iter().flat_map(WebFile::locks);
        let gone: Vec<_> = before
            .zip(file.locks())
            .filter(|((_, was_there), (_, is_there))| *was_there && !*is_there)
            .map(|((key, _), _)| problem(key, GONE.to_owned()))
            .collect();
        if !gone.is_empty() {
            return Err(ConfigError::Invalid(gone));
        }
        let policy = Policy::new(file, &old, &self.counts).map_err(|unusable| {
            let key = format!("tls_server_config.{}", unusable.key);
            ConfigError::Invalid(vec![problem(key.trim_end_matches('.'), unusable.reason)])
        })?;
        self.counts.file_is_in_use(WebFileState {
            is_current: true,
            loaded_at: SystemTime::now(),
            not_after: policy.tls.as_ref().and_then(|tls| tls.not_after),
        });
        self.policy.send_replace(Arc::new(policy));
        Ok(true)
    }
}
