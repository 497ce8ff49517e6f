//! The exporter's own listener: who was turned away, and how its web configuration file fares.

use super::{Entities, Table, Topic, rows};
use crate::listener::Listener;
use crate::nats::endpoint::Endpoint;
use crate::nats::time::Timestamp;
use crate::scrape::Scrape;
use crate::tier::Tier;

/// The listener.
pub(super) struct ListenerTable;

impl Table for ListenerTable {
    const TOPIC: Topic = Topic::Exporter;
    const TIERS: &'static [Tier] = &[Tier::Exporter];
    const NEEDS: &'static [Endpoint] = &[];
    const LABELS: &'static [&'static str] = &[];
    type Source = Scrape;
    type Entity<'s> = &'s Listener;

    rows! {
        gauge "nats_exporter_web_config_last_reload_successful", "exporter",
            "Whether the newest web configuration file, with the files that it names, is the one in force; no series without such a file."
            => |l| l.file().map(|file| file.is_current);
        gauge "nats_exporter_web_config_last_reload_success_timestamp_seconds", "exporter",
            "When the web configuration in force was read, in seconds since the epoch."
            => |l| l.file().map(|file| Timestamp::from(file.loaded_at));
        gauge "nats_exporter_web_certificate_not_after_timestamp_seconds", "exporter",
            "When the certificate of the exporter ends, in seconds since the epoch; no series without TLS."
            => |l| l.file()?.not_after.map(Timestamp::from);
        counter "nats_exporter_web_failed_handshakes", "exporter",
            "Connections that ended before TLS was set up, such as those without the certificate that is asked for."
            => |l| l.failed_handshakes.get();
        counter "nats_exporter_web_password_checks", "exporter",
            "Passwords that were compared with a hash, which costs time; one that was compared before is remembered."
            => |l| l.password_checks.get();
        counter "nats_exporter_web_unauthorized_requests", "exporter",
            "Requests without the name and the password of a user."
            => |l| l.unauthorized.get();
        counter "nats_exporter_web_rate_limited_requests", "exporter",
            "Requests beyond what rate_limit of the web configuration file allows."
            => |l| l.rate_limited.get();
    }

    fn entities<'s>(scrape: &'s Scrape, _: Tier, entities: &mut Entities<&'s Listener>) {
        entities.push(0, [], &scrape.own.listener);
    }
}
