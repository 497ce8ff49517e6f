//! Servers that are no targets, and that `/probe` may ask all the same: a table with a limit, in which
//! each stays as long as somebody asks for it.
//!
//! So Prometheus can choose the servers and several exporters can share them, and what is remembered of
//! a server holds from one probe to the next as it does for a target.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::Refused;
use crate::config::{Asked, Config};
use crate::nats::client::ClientError;
use crate::probe::Probe;

/// The table.
#[derive(Debug, Default)]
pub(super) struct Guests {
    by_url: Mutex<HashMap<String, Guest>>,
    not_allowed: AtomicU64,
    full: AtomicU64,
}

#[derive(Debug)]
struct Guest {
    probe: Arc<Probe>,
    /// What the probe was made by.
    config: Arc<Config>,
    asked_at: Instant,
}

impl Guests {
    /// The server at `asked`; nothing when it may not be asked.
    ///
    /// # Errors
    /// When the table is full, or the server cannot be asked with the settings of what allows it.
    pub(super) fn find(
        &self,
        asked: &Asked,
        config: &Arc<Config>,
        epoch: Instant,
    ) -> Result<Option<Arc<Probe>>, Refused> {
        let Some(target) = config.probe.allow.iter().find_map(|allowed| allowed.target(asked))
        else {
            self.not_allowed.fetch_add(1, Ordering::Relaxed);
            return Ok(None);
        };
        let now = Instant::now();
        let mut by_url = self.by_url.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut by_url, config, now);
        let known = by_url.get_mut(target.url.as_str());
        let memory = known.as_ref().map(|guest| Arc::clone(guest.probe.memory()));
        if let Some(guest) = known.filter(|guest| Arc::ptr_eq(&guest.config, config)) {
            guest.asked_at = now;
            return Ok(Some(Arc::clone(&guest.probe)));
        }
        if memory.is_none() && by_url.len() >= config.probe.max_targets {
            self.full.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::Full(config.probe.max_targets));
        }
        // After a reload it may be another pattern that allows it, with other credentials.
        let probe = Probe::new(&target, None, config, memory.unwrap_or_default(), epoch)?;
        let probe = Arc::new(probe);
        let guest = Guest { probe: Arc::clone(&probe), config: Arc::clone(config), asked_at: now };
        by_url.insert(target.url.into(), guest);
        Ok(Some(probe))
    }

    /// Whether what is allowed can be asked with its settings; asks nobody.
    ///
    /// # Errors
    /// When it cannot.
    pub(super) fn check(config: &Arc<Config>, epoch: Instant) -> Result<(), ClientError> {
        let mut allowed = config.probe.allow.iter().map(|allowed| &allowed.template);
        allowed.try_for_each(|template| {
            Probe::new(template, None, config, Arc::default(), epoch).map(drop)
        })
    }

    /// How many servers are in the table.
    pub(super) fn count(&self, config: &Config) -> usize {
        let mut by_url = self.by_url.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut by_url, config, Instant::now());
        by_url.len()
    }

    /// Probes that were refused, by reason.
    pub(super) fn refused(&self) -> Vec<(&'static str, u64)> {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        vec![("not_allowed", count(&self.not_allowed)), ("table_full", count(&self.full))]
    }
}

/// Forgets the servers that nobody asks for any more.
fn forget(by_url: &mut HashMap<String, Guest>, config: &Config, now: Instant) {
    by_url.retain(|_, guest| now - guest.asked_at < config.probe.idle);
}
