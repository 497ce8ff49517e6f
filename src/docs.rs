//! The catalogue as a document: `docs/metrics.md` and `--list-metrics`.

use std::fmt::Write;

use crate::catalog::{self, Description, Topic};
use crate::tier::Tier;
use crate::verdict::{BaseReason, PersistenceReason, State};

/// One line for each metric: name, type, tier, labels, help.
#[must_use]
pub fn list() -> String {
    let mut text = String::new();
    for table in catalog::describe() {
        for family in &table.families {
            let _ = writeln!(
                text,
                "{} {} {} {{{}}} {}",
                family.sample_name(),
                family.kind.as_str(),
                tiers(&table),
                labels(&table),
                family.help,
            );
        }
    }
    text
}

fn labels(table: &Description) -> String {
    let more = if table.more_labels { ", metadata_*" } else { "" };
    format!("{}{more}", table.labels.join(", "))
}

fn tiers(table: &Description) -> String {
    table.tiers.iter().map(|tier| tier.as_str()).collect::<Vec<_>>().join(" or ")
}

/// The whole of `docs/metrics.md`.
#[must_use]
pub fn metrics() -> String {
    let mut text = String::from(INTRODUCTION);
    reasons(&mut text);
    let catalogue = catalog::describe();
    for tier in Tier::ALL {
        let _ = write!(text, "\n## {}\n", heading(tier));
        for topic in Topic::ALL {
            let of_tier = catalogue.iter().filter(|table| table.tiers.first() == Some(&tier));
            let tables: Vec<_> = of_tier.filter(|table| table.topic == topic).collect();
            if !tables.is_empty() {
                let _ = write!(text, "\n### {}\n", topic.as_str());
                for table in tables {
                    describe(&mut text, table);
                }
            }
        }
    }
    text
}

const INTRODUCTION: &str = "\
# Metrics

Written by `make docs` from the catalogue in `src/catalog`; do not edit.

A series that is missing means *unknown* or *not applicable*, never zero. An endpoint that failed
shows nothing of what it said before. Limits that are not set have no series.

`nats_cluster` and `server` say which server a series is about; they are learned from the server,
kept while it is down, and can be configured. Series of streams and consumers that only a leader
knows have no `server` label, so that an election neither starts nor ends one. Names that change
with an election or a restart are labels of series called `_info` only.

Series marked *detail* count against `limits.series_per_target`.
";

fn heading(tier: Tier) -> &'static str {
    match tier {
        Tier::Base => "Base tier: core messaging, and what both tiers have",
        Tier::Persistence => "Persistence tier: JetStream",
        Tier::Exporter => "The exporter",
    }
}

fn reasons(text: &mut String) {
    text.push_str("\n## States and reasons\n\n");
    text.push_str("The state of a tier is the worst that any reason gives: ");
    text.push_str(&State::ALL.map(State::as_str).join(", "));
    text.push_str(".\n\n| tier | reason | state | meaning |\n| --- | --- | --- | --- |\n");
    let base = BaseReason::ALL.iter().map(|reason| (Tier::Base, reason.describe()));
    let persistence = PersistenceReason::ALL.iter().map(|r| (Tier::Persistence, r.describe()));
    for (tier, (reason, state, meaning)) in base.chain(persistence) {
        let _ = writeln!(text, "| {tier} | `{reason}` | {} | {meaning} |", state.as_str());
    }
}

fn describe(text: &mut String, table: &Description) {
    let _ = write!(text, "\nLabels: ");
    let names: Vec<_> = table.labels.iter().map(|label| format!("`{label}`")).collect();
    text.push_str(&if names.is_empty() { "none".to_owned() } else { names.join(", ") });
    if table.more_labels {
        text.push_str(", and one `metadata_KEY` for each configured key");
    }
    text.push_str(". Tier: ");
    text.push_str(&tiers(table));
    text.push('.');
    if table.detail {
        text.push_str(" *Detail.*");
    }
    text.push_str("\n\n| metric | type | meaning | source |\n| --- | --- | --- | --- |\n");
    for family in &table.families {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            family.sample_name(),
            family.kind.as_str(),
            family.help,
            family.source,
        );
    }
}
