//! Persistence tier: accounts. Their numbers are sums over the whole cluster, and every server
//! prints the same ones: take one of them, never a sum.

use super::{Entities, Table, Topic, rows};
use crate::assets::Assets;
use crate::detail::AccountDetail;
use crate::nats::decode::unsigned_limit;
use crate::nats::endpoint::Endpoint;
use crate::tier::Tier;

/// One account as one server sees it.
pub(super) struct AccountTable;

impl Table for AccountTable {
    const TOPIC: Topic = Topic::Account;
    const TIERS: &'static [Tier] = &[Tier::Persistence];
    const NEEDS: &'static [Endpoint] = &[Endpoint::Varz, Endpoint::Jsz, Endpoint::JszDetail];
    const LABELS: &'static [&'static str] = &["nats_cluster", "server", "account"];
    type Source = Assets;
    type Entity<'s> = &'s AccountDetail;

    rows! {
        gauge "nats_jetstream_account_storage_used_bytes", "/jsz account_details.storage",
            "File storage that the account uses in the whole cluster, as this server knows it."
            => |a| a.account.storage;
        gauge "nats_jetstream_account_storage_limit_bytes", "/jsz account_details.reserved_storage",
            "File storage that the account may use; no series when it has no limit."
            => |a| unsigned_limit(a.account.reserved_storage);
        gauge "nats_jetstream_account_memory_used_bytes", "/jsz account_details.memory",
            "Memory storage that the account uses in the whole cluster, as this server knows it."
            => |a| a.account.memory;
        gauge "nats_jetstream_account_memory_limit_bytes", "/jsz account_details.reserved_memory",
            "Memory storage that the account may use; no series when it has no limit."
            => |a| unsigned_limit(a.account.reserved_memory);
        counter "nats_jetstream_account_api_requests", "/jsz account_details.api.total",
            "JetStream API requests of the account in the whole cluster, as this server knows it."
            => |a| a.account.api.total;
        counter "nats_jetstream_account_api_errors", "/jsz account_details.api.errors",
            "JetStream API requests of the account in the whole cluster that were answered with an error."
            => |a| a.account.api.errors;
        gauge "nats_jetstream_account_streams", "/jsz account_details.stream_detail",
            "Streams of the account with a replica on this server that are not filtered out."
            => |a| a.streams.len() as u64;
    }

    fn entities<'s>(assets: &'s Assets, _: Tier, entities: &mut Entities<&'s AccountDetail>) {
        for source in &assets.sources {
            let identity = &source.identity;
            for account in &source.detail().accounts {
                let name = assets.account_label(source, &account.account);
                let labels = [&identity.cluster, &identity.server, name];
                entities.push(source.at, labels, account);
            }
        }
    }
}
