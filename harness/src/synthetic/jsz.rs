//! `/jsz`, made while it is read.

use super::json::Json;
use super::model::{self, PEERS, Position, SERVERS, Stream, last_contact, letters};
use super::request::Query;
use super::server;
use super::{Moment, PIECE, Site};

/// More than what is written between two looks at the length.
const SLACK: usize = 8 * 1024;
const NO_LIMIT: u64 = u64::MAX;

/// The body of `/jsz` in pieces of about [`PIECE`] bytes.
#[derive(Debug)]
pub struct Jsz {
    site: Site,
    server: u64,
    query: Query,
    moment: Moment,
    /// The account after the last one of the page.
    end: u64,
    json: Json,
    next: Step,
    /// The account at work, and its stream.
    account: u64,
    place: u64,
    stream: Stream,
    stream_name: String,
}

/// What is to be written next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Head,
    Account,
    Stream,
    Consumer(u64),
    /// The Raft group of a consumer.
    Group(u64),
    StreamEnd,
    Tail,
    Done,
}

impl Iterator for Jsz {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        while !matches!(self.next, Step::Done) {
            self.next = self.step();
            if self.json.len() >= PIECE {
                return Some(self.json.take(PIECE + SLACK));
            }
        }
        Some(self.json.take(0)).filter(|rest| !rest.is_empty())
    }
}

impl Jsz {
    pub(super) fn new(site: Site, server: u64, query: Query, moment: Moment) -> Self {
        let accounts = site.shape.accounts;
        // As on 2.14.6, an unknown name is taken for none.
        let only = query.account.as_ref();
        let only = only.and_then(|name| (0..accounts).find(|index| site.account(*index) == *name));
        let (account, end) = only.map_or_else(
            || (query.offset, query.offset.saturating_add(query.page()).min(accounts)),
            |index| (index, index + 1),
        );
        let detailed = query.accounts;
        Self {
            site,
            server,
            query,
            moment,
            end,
            json: Json::new(if detailed { PIECE + SLACK } else { 2048 }),
            next: Step::Head,
            account,
            place: 0,
            stream: Stream { number: 0, mirrors: None },
            stream_name: String::new(),
        }
    }

    fn step(&mut self) -> Step {
        match self.next {
            Step::Head => self.head(),
            Step::Account => self.account(),
            Step::Stream => self.stream(),
            Step::Consumer(number) => self.consumer(number),
            Step::Group(number) => self.group(number),
            Step::StreamEnd => self.stream_end(),
            Step::Tail => {
                self.json.number("total", self.site.shape.accounts);
                self.json.end();
                Step::Done
            }
            Step::Done => Step::Done,
        }
    }

    fn head(&mut self) -> Step {
        let totals = self.site.totals(self.server, self.moment);
        let json = &mut self.json;
        server::statistics(json, &self.site, &totals, self.moment);
        json.text("server_id", server::ID[server::index(self.server)]);
        json.time("now", self.moment.now);
        json.object("config");
        server::jetstream_config(json, self.server);
        json.end();
        json.object("limits");
        json.end();
        json.number("streams", totals.streams);
        if self.query.raft && totals.streams_led > 0 {
            json.number("streams_leader", totals.streams_led);
        }
        json.number("consumers", totals.consumers);
        if self.query.raft {
            let led = self.site.consumers_led(self.server, self.moment.epoch);
            if led > 0 {
                json.number("consumers_leader", led);
            }
        }
        json.number("messages", totals.messages);
        json.number("bytes", totals.bytes);
        if self.site.is_cluster() {
            json.object("meta_cluster");
            server::meta_group(json, &self.site, self.server, self.moment);
            json.end();
        }
        if !self.query.accounts || self.account >= self.end {
            return Step::Tail;
        }
        self.json.list("account_details");
        Step::Account
    }

    fn account(&mut self) -> Step {
        if self.account == self.end {
            self.json.end();
            return Step::Tail;
        }
        let name = self.site.account(self.account);
        let limited = self.account % 4 == 3;
        let json = &mut self.json;
        json.item();
        json.text("name", &name);
        json.text("id", &name);
        json.number("memory", 0);
        json.number("storage", self.site.account_bytes(self.account, self.moment));
        json.number("reserved_memory", if limited { 1 << 30 } else { NO_LIMIT });
        json.number("reserved_storage", if limited { 1 << 50 } else { NO_LIMIT });
        json.number("accounts", 0);
        json.number("ha_assets", 0);
        server::api(json, 0, self.moment);
        self.place = 0;
        if self.query.streams && self.find_stream() {
            self.json.list("stream_detail");
            return Step::Stream;
        }
        self.account_end()
    }

    fn account_end(&mut self) -> Step {
        self.json.end();
        self.account += 1;
        Step::Account
    }

    /// Goes to the next stream that is shown, from the present place on.
    fn find_stream(&mut self) -> bool {
        for place in self.place..self.site.streams_in(self.account) {
            let stream = self.site.stream(self.account, place);
            let shown = self.site.is_held(stream, self.server)
                && (!self.query.stream_leader_only || self.leads(stream));
            if shown {
                self.place = place;
                self.stream = stream;
                self.stream_name = stream.name();
                return true;
            }
        }
        false
    }

    fn leads(&self, stream: Stream) -> bool {
        self.site.stream_leader(stream, self.moment.epoch) == self.server
    }

    fn stream(&mut self) -> Step {
        let (stream, hash) = (self.stream, self.stream.hash());
        let state = stream.state(self.moment, self.site.started);
        let consumers = self.site.consumers(stream);
        self.json.item();
        self.json.text("name", &self.stream_name);
        self.json.time("created", self.site.created(hash));
        self.json.object("cluster");
        let leader = self.site.stream_leader(stream, self.moment.epoch);
        self.group_state(hash, leader, "S");
        self.json.end();
        if self.query.config {
            self.stream_config();
        }
        let json = &mut self.json;
        json.object("state");
        json.number("messages", state.messages);
        json.number("bytes", state.bytes);
        json.number("first_seq", state.first);
        json.time("first_ts", self.site.started);
        json.number("last_seq", state.last);
        json.time("last_ts", state.last_time);
        json.number("num_subjects", state.subjects);
        json.number("consumer_count", consumers);
        json.end();
        if self.query.consumers && consumers > 0 {
            json.list("consumer_detail");
            return Step::Consumer(1);
        }
        Step::StreamEnd
    }

    fn stream_config(&mut self) {
        let json = &mut self.json;
        let number = self.stream.number;
        json.object("config");
        json.text("name", &self.stream_name);
        if self.stream.mirrors.is_none() {
            json.list("subjects");
            json.text_item(&format!("orders.{number:05}.>"));
            json.end();
        }
        json.text("retention", "limits");
        json.number("max_consumers", -1);
        if self.stream.is_limited() {
            json.number("max_msgs", model::MAX_MESSAGES);
        } else {
            json.number("max_msgs", -1);
        }
        json.number("max_bytes", -1);
        json.number("max_age", 0);
        json.number("max_msgs_per_subject", -1);
        json.number("max_msg_size", -1);
        json.text("discard", "old");
        json.text("storage", "file");
        json.number("num_replicas", self.site.shape.replicas);
        if let Some(origin) = self.stream.mirrors {
            json.object("mirror");
            json.text("name", &Stream { number: origin, mirrors: None }.name());
            json.end();
        } else {
            json.number("duplicate_window", 120_000_000_000_u64);
        }
        json.text("compression", "none");
        for flag in [
            "allow_direct",
            "mirror_direct",
            "sealed",
            "deny_delete",
            "deny_purge",
            "allow_rollup_hdrs",
        ] {
            json.flag(flag, false);
        }
        json.object("consumer_limits");
        json.end();
        json.flag("allow_msg_ttl", false);
        metadata(json);
        json.end();
    }

    fn consumer(&mut self, number: u64) -> Step {
        if number > self.site.consumers(self.stream) {
            self.json.end();
            if self.query.raft && self.site.is_cluster() {
                self.raft_group();
                self.json.list("consumer_raft_groups");
                return Step::Group(1);
            }
            return self.next_stream();
        }
        let hash = self.stream.consumer_hash(number);
        let progress = self.stream.progress(number, self.moment, self.site.started);
        let leader = self.site.consumer_leader(self.stream, number, self.moment.epoch);
        // Followers know neither who waits nor what is to come.
        let leads = leader == self.server;
        self.json.item();
        self.json.text("stream_name", &self.stream_name);
        let name = consumer_name(number);
        self.json.text("name", &name);
        self.json.time("created", self.site.created(hash));
        if self.query.config {
            self.consumer_config(&name, number);
        }
        let json = &mut self.json;
        position(json, "delivered", &progress.delivered);
        position(json, "ack_floor", &progress.floor);
        json.number("num_ack_pending", progress.outstanding);
        json.number("num_redelivered", progress.redelivered);
        json.number("num_waiting", if leads { progress.waiting } else { 0 });
        json.number("num_pending", if leads { progress.pending } else { 0 });
        if self.site.is_cluster() {
            json.object("cluster");
            self.group_state(hash, leader, "C");
            self.json.end();
        }
        self.json.time("ts", self.moment.now);
        self.json.end();
        Step::Consumer(number + 1)
    }

    fn consumer_config(&mut self, name: &str, number: u64) {
        let json = &mut self.json;
        json.object("config");
        json.text("durable_name", name);
        json.text("name", name);
        json.text("deliver_policy", "all");
        json.text("ack_policy", "explicit");
        json.number("ack_wait", 30_000_000_000_u64);
        json.number("max_deliver", -1);
        if model::is_filtered(number) {
            json.text("filter_subject", &format!("orders.{:05}.new", self.stream.number));
        }
        json.text("replay_policy", "instant");
        json.number("max_waiting", 512);
        json.number("max_ack_pending", 1000);
        json.number("num_replicas", 0);
        metadata(json);
        json.end();
    }

    fn group(&mut self, number: u64) -> Step {
        if number > self.site.consumers(self.stream) {
            self.json.end();
            return self.next_stream();
        }
        let name = self.group_name("C", self.stream.consumer_hash(number));
        self.json.item();
        self.json.text("name", &consumer_name(number));
        self.json.text("raft_group", &name);
        self.json.end();
        Step::Group(number + 1)
    }

    /// The end of a stream whose consumers are not shown.
    fn stream_end(&mut self) -> Step {
        if let Some(origin) = self.stream.mirrors.filter(|_| self.leads(self.stream)) {
            let json = &mut self.json;
            json.object("mirror");
            json.text("name", &Stream { number: origin, mirrors: None }.name());
            json.number("lag", self.stream.lag());
            json.number("active", last_contact(self.stream.hash(), self.moment));
            json.end();
        }
        if self.query.raft && self.site.is_cluster() {
            self.raft_group();
        }
        self.next_stream()
    }

    fn next_stream(&mut self) -> Step {
        self.json.end();
        self.place += 1;
        if self.find_stream() {
            return Step::Stream;
        }
        self.json.end();
        self.account_end()
    }

    fn raft_group(&mut self) {
        let name = self.group_name("S", self.stream.hash());
        self.json.text("stream_raft_group", &name);
    }

    fn group_name(&self, kind: &str, hash: u64) -> String {
        format!("{kind}-R{}F-{}", self.site.shape.replicas, letters(hash))
    }

    /// Who leads, and who follows; a follower knows only of itself and the leader.
    fn group_state(&mut self, hash: u64, leader: u64, kind: &str) {
        if self.site.is_cluster() {
            self.json.text("name", server::CLUSTER);
        }
        let group = self.site.is_replicated().then(|| self.group_name(kind, hash));
        let json = &mut self.json;
        if let Some(group) = &group {
            json.text("raft_group", group);
        }
        json.text("leader", SERVERS[server::index(leader)]);
        if group.is_none() {
            return;
        }
        if leader == self.server {
            json.time("leader_since", self.site.leader_since(hash, self.moment));
        }
        json.flag("system_account", true);
        json.text("traffic_account", server::SYSTEM_ACCOUNT);
        json.list("replicas");
        for other in (0..self.site.shape.servers).filter(|other| *other != self.server) {
            let known = leader == self.server || other == leader;
            json.item();
            json.text("name", SERVERS[server::index(other)]);
            json.flag("current", known);
            json.number("active", if known { last_contact(hash ^ other, self.moment) } else { 0 });
            json.text("peer", PEERS[server::index(other)]);
            json.end();
        }
        json.end();
    }
}

fn consumer_name(number: u64) -> String {
    format!("worker-{number:02}")
}

fn position(json: &mut Json, key: &str, position: &Position) {
    json.object(key);
    json.number("consumer_seq", position.consumer);
    json.number("stream_seq", position.stream);
    if position.time > 0 {
        json.time("last_active", position.time);
    }
    json.end();
}

/// What the servers write into the metadata of everything.
fn metadata(json: &mut Json) {
    json.object("metadata");
    json.text("_nats.req.level", "0");
    json.end();
}
