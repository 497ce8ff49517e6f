//! The state of each tier of a server, and why.

use super::{Entities, Table, Topic, rows};
use crate::nats::endpoint::Endpoint;
use crate::scrape::Scrape;
use crate::tier::Tier;
use crate::verdict::State;

/// One state of one tier of one server.
pub(super) struct TierStateTable;

impl Table for TierStateTable {
    const TOPIC: Topic = Topic::Tier;
    const TIERS: &'static [Tier] = &[Tier::Base, Tier::Persistence];
    const NEEDS: &'static [Endpoint] = &Endpoint::ALL;
    const LABELS: &'static [&'static str] = &["nats_cluster", "server", "tier", "state"];
    type Source = Scrape;
    type Entity<'s> = bool;

    rows! {
        gauge "nats_tier_state", "verdict",
            "Whether a tier of the server is in this state: ok, degraded, down or unknown. No persistence series on a server without JetStream."
            => |holds| *holds;
    }

    fn entities(scrape: &Scrape, tier: Tier, entities: &mut Entities<bool>) {
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let Some(verdict) = snapshot.verdict(tier) else { continue };
            for state in State::ALL {
                let identity = &snapshot.identity;
                let labels = [&identity.cluster, &identity.server, tier.as_str(), state.as_str()];
                entities.push(source, labels, verdict.state == state);
            }
        }
    }
}

/// One reason for the state of one tier of one server.
pub(super) struct TierReasonTable;

impl Table for TierReasonTable {
    const TOPIC: Topic = Topic::Tier;
    const TIERS: &'static [Tier] = &[Tier::Base, Tier::Persistence];
    const NEEDS: &'static [Endpoint] = &Endpoint::ALL;
    const LABELS: &'static [&'static str] = &["nats_cluster", "server", "tier", "reason"];
    type Source = Scrape;
    type Entity<'s> = bool;

    rows! {
        gauge "nats_tier_reason", "verdict",
            "Whether this reason for the state of the tier holds now. The reasons are a closed list, see docs/metrics.md."
            => |holds| *holds;
    }

    fn entities(scrape: &Scrape, tier: Tier, entities: &mut Entities<bool>) {
        for (source, snapshot) in scrape.snapshots.iter().enumerate() {
            let Some(verdict) = snapshot.verdict(tier) else { continue };
            for (reason, holds) in &verdict.reasons {
                let identity = &snapshot.identity;
                let labels = [&identity.cluster, &identity.server, tier.as_str(), *reason];
                entities.push(source, labels, *holds);
            }
        }
    }
}
