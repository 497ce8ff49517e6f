//! The words that are seen first: states and answers, as signs with a colour that adds nothing to
//! the word.

use std::fmt::{self, Display, Formatter};

use crate::report::{Cluster, Server};

/// A word on a coloured ground.
pub(super) struct Sign<'a> {
    /// Names the colour in the style sheet.
    pub(super) class: &'a str,
    /// What is read.
    pub(super) word: &'a str,
}

impl Display for Sign<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { class, word } = self;
        write!(f, "<strong class=\"sign {class}\">{word}</strong>")
    }
}

/// The sign of a state of a tier.
pub(super) fn state(state: &str) -> Sign<'_> {
    let word = match state {
        "ok" => "OK",
        "degraded" => "DEGRADED",
        "down" => "DOWN",
        _ => "UNKNOWN",
    };
    Sign { class: state, word }
}

/// Whether any one server of the cluster may be restarted, in words.
pub(super) fn answer(answer: &str) -> &'static str {
    match answer {
        "safe" => "SAFE - one at a time",
        "unsafe" => "DO NOT RESTART",
        _ => "UNKNOWN - treat as no",
    }
}

/// The sign of the cluster. Where something is wrong, not even a yes is plainly green.
pub(super) fn of_cluster(cluster: &Cluster) -> Sign<'_> {
    let hollow = cluster.restart == "safe" && !cluster.advice.troubles.is_empty();
    Sign { class: if hollow { "hollow" } else { cluster.restart }, word: answer(cluster.restart) }
}

/// The sign of a server, and a sentence that goes with it where no note does.
pub(super) fn of_server(server: &Server) -> (Sign<'static>, Option<&'static str>) {
    let sign = |class, word| Sign { class, word };
    match server.restart.answer {
        "safe" if server.base.state == "down" => (sign("hollow", "SAFE TO START"), None),
        "safe" if is_switched_off(server) => (sign("hollow", "SAFE, BUT NO CURE YET"), None),
        "safe" if server.restart.note.is_some() => (sign("hollow", "SAFE"), None),
        "safe" if is_unwell(server) => (
            sign("hollow", "SAFE"),
            Some("A restart breaks nothing more. Whether it helps: see what to do first."),
        ),
        "safe" => (sign("safe", "SAFE"), Some("One at a time.")),
        "unsafe" => (sign("unsafe", "DO NOT RESTART"), None),
        _ => (sign("unknown", "UNKNOWN"), Some("Treat it as a no.")),
    }
}

/// Whether its JetStream has switched itself off, and would do so again.
fn is_switched_off(server: &Server) -> bool {
    let reasons = server.persistence.iter().flat_map(|tier| &tier.reasons);
    reasons.into_iter().any(|why| why.reason == "switched_off")
}

fn is_unwell(server: &Server) -> bool {
    let tiers = [Some(&server.base), server.persistence.as_ref()];
    tiers.into_iter().flatten().any(|tier| tier.state != "ok")
}
