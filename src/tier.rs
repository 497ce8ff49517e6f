//! The layers that the exporter keeps apart.
//!
//! Every metric belongs to exactly one tier, every endpoint is asked on behalf
//! of one tier, and every request names the tiers that it wants.

use std::fmt;
use std::str::FromStr;

/// One layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Core messaging: the server process, its clients and its routes.
    Base,
    /// JetStream: meta group, storage, streams and consumers.
    Persistence,
    /// The exporter itself.
    Exporter,
}

impl Tier {
    /// All tiers, in the order in which they are written.
    pub const ALL: [Self; 3] = [Self::Base, Self::Persistence, Self::Exporter];

    /// The value of the `tier` label and of the `tier` query parameter.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Persistence => "persistence",
            Self::Exporter => "exporter",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Tier {
    type Err = UnknownTier;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|tier| tier.as_str() == text)
            .ok_or_else(|| UnknownTier(text.to_owned()))
    }
}

/// A tier name that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no tier \"{0}\"; write base, persistence or exporter")]
pub struct UnknownTier(String);

/// Some of the tiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TierSet([bool; 3]);

impl TierSet {
    /// Every tier.
    pub const ALL: Self = Self([true; 3]);

    /// Whether `tier` is one of them.
    #[must_use]
    pub const fn contains(self, tier: Tier) -> bool {
        self.0[tier as usize]
    }
}

impl FromIterator<Tier> for TierSet {
    fn from_iter<I: IntoIterator<Item = Tier>>(tiers: I) -> Self {
        let mut set = Self([false; 3]);
        for tier in tiers {
            set.0[tier as usize] = true;
        }
        set
    }
}
