//! What the listener tells of itself: counted by `web`, shown by `catalog`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Counts of the listener, and the state of its web configuration file.
#[derive(Debug, Default)]
pub struct Listener {
    /// Passwords that were compared with a hash.
    pub password_checks: Count,
    /// Requests without the name and password of a user.
    pub unauthorized: Count,
    /// Requests beyond `rate_limit`.
    pub rate_limited: Count,
    /// Connections that ended before TLS was set up.
    pub failed_handshakes: Count,
    file: Mutex<Option<WebFileState>>,
}

/// The state of a web configuration file.
#[derive(Debug, Clone, Copy)]
pub struct WebFileState {
    /// Whether the newest file is the one in use.
    pub is_current: bool,
    /// When the one in use was loaded.
    pub loaded_at: SystemTime,
    /// When the certificate of the listener ends; nothing without TLS.
    pub not_after: Option<SystemTime>,
}

impl Listener {
    /// Nothing if there is no web configuration file.
    #[must_use]
    pub fn file(&self) -> Option<WebFileState> {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A web configuration file is in use.
    pub fn file_is_in_use(&self, state: WebFileState) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
    }

    /// Whether the newest web configuration file is the one in use.
    pub fn file_is_current(&self, is_current: bool) {
        if let Some(state) = &mut *self.file.lock().unwrap_or_else(PoisonError::into_inner) {
            state.is_current = is_current;
        }
    }
}

/// A number of events.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// So many until now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
