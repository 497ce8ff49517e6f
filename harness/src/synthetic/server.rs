//! What a server says of itself: `/varz`, `/routez` and the parts that `/jsz` shares with them.

use super::json::Json;
use super::model::{PEERS, SERVERS, Totals, last_contact, mix};
use super::{Moment, Site};

pub(super) const CLUSTER: &str = "C1";
pub(super) const SYSTEM_ACCOUNT: &str = "SYS";
pub(super) const ID: [&str; 3] = [
    "ND6S5SWXYUBNDI2AVS6T6FYSLSWBPMUUCFXI2KCWM56QZQCEYQKCJO5A",
    "NC5VBXM27Q4A5SH62CI6PYOJTONFSJRX4JEOERMX6GQ7UCXRNZZX2YH6",
    "NCMZDKRGB4TW7PDFRYKTQZQO4B4N4KBWSAMX6HKITZR6SDURU4SBI57P",
];
const SECOND: u64 = 1_000_000_000;
const STORE: u64 = 10 << 40;
/// Connections between two servers, besides the one for the system account.
const POOL: usize = 3;
const ROUTES: u64 = POOL as u64 + 1;

/// For the tables of names; there are at most three servers.
pub(super) fn index(server: u64) -> usize {
    usize::try_from(server).unwrap_or_default() % SERVERS.len()
}

impl Site {
    pub(super) fn varz(&self, server: u64, moment: Moment) -> Vec<u8> {
        let mut whole = Json::new(4096);
        let (json, cluster) = (&mut whole, self.is_cluster());
        let name = SERVERS[index(server)];
        let others = self.shape.servers - 1;
        json.text("server_id", ID[index(server)]);
        json.text("server_name", name);
        json.text("version", "2.14.6");
        json.number("proto", 1);
        json.text("git_commit", "1aa10f9");
        json.text("go", "go1.27.0");
        json.text("host", "127.0.0.1");
        json.number("port", port(server));
        json.flag("auth_required", true);
        if cluster {
            json.list("connect_urls");
            for server in 0..self.shape.servers {
                json.text_item(&format!("127.0.0.1:{}", port(server)));
            }
            json.end();
        }
        json.number("max_connections", 65_536);
        json.number("ping_interval", 120 * SECOND);
        json.number("ping_max", 2);
        json.text("http_host", "127.0.0.1");
        json.number("http_port", port(server) + 2);
        json.text("http_base_path", "");
        json.number("https_port", 0);
        json.number("auth_timeout", 2);
        json.number("max_control_line", 4096);
        json.number("max_payload", 1_048_576);
        json.number("max_pending", 67_108_864);
        json.object("cluster");
        if cluster {
            json.text("name", CLUSTER);
            json.text("addr", "127.0.0.1");
            json.number("cluster_port", port(server) + 1);
            json.number("auth_timeout", 2);
            json.list("urls");
            for server in 0..self.shape.servers {
                json.text_item(&format!("127.0.0.1:{}", port(server) + 1));
            }
            json.end();
            json.number("tls_timeout", 2);
            json.number("pool_size", POOL);
        }
        json.end();
        for part in ["gateway", "leaf", "mqtt", "websocket"] {
            json.object(part);
            json.end();
        }
        self.jetstream(json, server, moment);
        json.number("tls_timeout", 2);
        json.number("write_deadline", 10 * SECOND);
        json.time("start", self.started);
        json.time("now", moment.now);
        json.text("uptime", &duration((moment.now - self.started) / SECOND));
        json.number("mem", 500_000_000 + mix(moment.tick) % 1_000_000);
        json.number("cores", 2);
        json.number("gomaxprocs", 2);
        json.number("cpu", mix(moment.tick) % 100);
        json.number("connections", 3);
        json.number("total_connections", 5 + moment.tick / 10);
        json.number("routes", others * ROUTES);
        json.number("remotes", others);
        json.number("leafnodes", 0);
        for (counter, step) in [
            ("in_msgs", 3000),
            ("in_bytes", 300_000),
            ("in_client_msgs", 1000),
            ("in_client_bytes", 100_000),
            ("out_msgs", 4000),
            ("out_bytes", 400_000),
            ("out_client_msgs", 2000),
            ("out_client_bytes", 200_000),
        ] {
            json.number(counter, step * (10 + moment.tick));
        }
        json.number("slow_consumers", 0);
        json.number("stale_connections", 0);
        json.number("stalled_clients", 0);
        json.number("subscriptions", 526);
        json.object("http_req_stats");
        json.number("/jsz", moment.tick);
        json.end();
        json.time("config_load_time", self.started);
        json.text(
            "config_digest",
            "sha256:b6fb7403c1ea7f30291d1ed2838a2b19fc2b0a4723efc0c006dffb47b280e77d",
        );
        json.object("feature_flags");
        json.flag("js_ack_fc_v2", false);
        json.flag("js_raft_delete_range", false);
        json.end();
        json.text("system_account", SYSTEM_ACCOUNT);
        for part in ["slow_consumer_stats", "stale_connection_stats"] {
            zeros(json, part, &["clients", "routes", "gateways", "leafs"]);
        }
        zeros(json, "disk_io_wait_stats", &["waiters", "waits", "wait_time", "max_wait_time"]);
        whole.finish()
    }

    fn jetstream(&self, json: &mut Json, server: u64, moment: Moment) {
        json.object("jetstream");
        json.object("config");
        jetstream_config(json, server);
        json.end();
        json.object("stats");
        statistics(json, self, &self.totals(server, moment), moment);
        json.end();
        if self.is_cluster() {
            json.object("meta");
            meta_group(json, self, server, moment);
            json.end();
        }
        json.object("limits");
        json.end();
        json.end();
    }

    pub(super) fn routez(&self, server: u64, moment: Moment) -> Vec<u8> {
        let mut json = Json::new(8192);
        let uptime = duration((moment.now - self.started) / SECOND);
        let others = self.shape.servers - 1;
        json.text("server_id", ID[index(server)]);
        json.text("server_name", SERVERS[index(server)]);
        json.time("now", moment.now);
        json.number("num_routes", others * ROUTES);
        json.list("routes");
        let peers = || (0..self.shape.servers).filter(|peer| *peer != server);
        let pool = peers().flat_map(|peer| [(peer, false); POOL]);
        let connections = pool.chain(peers().map(|peer| (peer, true)));
        for (rid, (peer, system)) in (14_u64..).zip(connections) {
            let counter = (1 + rid) * (10 + moment.tick);
            json.item();
            json.number("rid", rid);
            json.text("remote_id", ID[index(peer)]);
            json.text("remote_name", SERVERS[index(peer)]);
            json.flag("did_solicit", server > peer);
            json.flag("is_configured", true);
            json.text("ip", "127.0.0.1");
            json.number("port", 48_950 + rid);
            json.time("start", self.started);
            json.time("last_activity", moment.now);
            json.text("rtt", &format!("{}µs", 100 + mix(rid) % 800));
            json.text("uptime", &uptime);
            json.text("idle", "0s");
            json.number("pending_size", 0);
            json.number("in_msgs", counter);
            json.number("out_msgs", counter);
            json.number("in_bytes", counter * 100);
            json.number("out_bytes", counter * 100);
            json.number("subscriptions", 5 + rid);
            if system {
                json.text("account", SYSTEM_ACCOUNT);
            }
            json.text("compression", "off");
            json.end();
        }
        json.end();
        json.finish()
    }
}

pub(super) fn statistics(json: &mut Json, site: &Site, totals: &Totals, moment: Moment) {
    json.number("memory", 0);
    json.number("storage", totals.bytes);
    json.number("reserved_memory", 0);
    json.number("reserved_storage", 0);
    json.number("accounts", site.shape.accounts);
    json.number("ha_assets", site.groups(totals));
    api(json, 4, moment);
}

pub(super) fn api(json: &mut Json, level: u64, moment: Moment) {
    json.object("api");
    json.number("level", level);
    json.number("total", 10 + moment.tick);
    json.number("errors", 1);
    json.end();
}

pub(super) fn jetstream_config(json: &mut Json, server: u64) {
    json.number("max_memory", 1_u64 << 30);
    json.number("max_storage", STORE);
    json.text("store_dir", &format!("/data/{}/js/jetstream", SERVERS[index(server)]));
    json.number("sync_interval", 120 * SECOND);
    json.flag("compress_ok", true);
    json.flag("strict", true);
}

pub(super) fn meta_group(json: &mut Json, site: &Site, server: u64, moment: Moment) {
    let Some(leader) = site.meta_leader(moment.epoch) else { return };
    json.text("name", CLUSTER);
    json.text("leader", SERVERS[index(leader)]);
    json.text("peer", PEERS[index(leader)]);
    if leader == server {
        json.list("replicas");
        for other in (0..site.shape.servers).filter(|other| *other != server) {
            json.item();
            json.text("name", SERVERS[index(other)]);
            json.flag("current", true);
            json.number("active", last_contact(other, moment));
            json.text("peer", PEERS[index(other)]);
            json.end();
        }
        json.end();
    }
    json.number("cluster_size", site.shape.servers);
    json.number("pending", 0);
    json.number("pending_requests", 0);
    json.number("pending_infos", 0);
    json.object("snapshot");
    json.number("pending_entries", 20 + moment.tick % 100);
    json.number("pending_size", 20_000 + moment.tick % 100 * 900);
    json.time("last_time", 0);
    json.end();
}

fn zeros(json: &mut Json, key: &str, names: &[&str]) {
    json.object(key);
    for name in names {
        json.number(name, 0);
    }
    json.end();
}

fn port(server: u64) -> u64 {
    14_200 + 10 * server
}

/// A duration as the servers write it: the leading parts that are zero are left out.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (minutes, hours, days) {
        (0, ..) => format!("{seconds}s"),
        (_, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (.., 0) => format!("{hours}h{}m{}s", minutes % 60, seconds % 60),
        _ => format!("{days}d{}h{}m{}s", hours % 24, minutes % 60, seconds % 60),
    }
}
