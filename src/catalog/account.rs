//! Persistence tier: accounts. Their numbers are sums over the whole cluster, and every server
//! prints the same ones: take one of them, never a sum.

use super::jetstream::each;
use super::{Entities, Table, Topic, rows};
use crate::nats::decode::unsigned_limit;
use crate::nats::endpoint::Endpoint;
use crate::nats::jsz::Account;
use crate::scrape::Scrape;
use crate::tier::Tier;

/// One account as one server sees it.
pub(super) struct AccountTable;

impl Table for AccountTable {
    const TOPIC: Topic = Topic::Account;
    const TIERS: &'static [Tier] = &[Tier::Persistence];
    const NEEDS: &'static [Endpoint] = &[Endpoint::Varz, Endpoint::Jsz, Endpoint::JszDetail];
    const LABELS: &'static [&'static str] = &["nats_cluster", "server", "account"];
    const DETAIL: bool = true;
    type Entity<'s> = &'s Account;

    rows! {
        gauge "nats_jetstream_account_storage_used_bytes", "/jsz account_details.storage",
            "File storage that the account uses in the whole cluster, as this server knows it."
            => |a| a.storage;
        gauge "nats_jetstream_account_storage_limit_bytes", "/jsz account_details.reserved_storage",
            "File storage that the account may use; no series when it has no limit."
            => |a| unsigned_limit(a.reserved_storage);
        gauge "nats_jetstream_account_memory_used_bytes", "/jsz account_details.memory",
            "Memory storage that the account uses in the whole cluster, as this server knows it."
            => |a| a.memory;
        gauge "nats_jetstream_account_memory_limit_bytes", "/jsz account_details.reserved_memory",
            "Memory storage that the account may use; no series when it has no limit."
            => |a| unsigned_limit(a.reserved_memory);
        counter "nats_jetstream_account_api_requests", "/jsz account_details.api.total",
            "JetStream API requests of the account in the whole cluster, as this server knows it."
            => |a| a.api.total;
        counter "nats_jetstream_account_api_errors", "/jsz account_details.api.errors",
            "JetStream API requests of the account in the whole cluster that were answered with an error."
            => |a| a.api.errors;
        gauge "nats_jetstream_account_streams", "/jsz account_details.stream_detail",
            "Streams of the account with a replica on this server that are not filtered out."
            => |a| a.stream_detail.len() as u64;
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<&'s Account>) {
        for (source, snapshot, persistence) in each(scrape) {
            let identity = &snapshot.identity;
            for account in persistence.detail().into_iter().flat_map(|detail| &detail.accounts) {
                let labels = [&identity.cluster, &identity.server, &*account.name];
                entities.push(source, labels, account);
            }
        }
    }
}
