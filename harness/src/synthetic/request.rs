//! What is asked: paths and the parameters of `/jsz`.

/// The page size when none is asked for.
const LIMIT: u64 = 1024;

/// A request, as the servers understand it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `/varz`
    Varz,
    /// `/routez`
    Routez,
    /// `/healthz`, in all its variants.
    Healthz,
    /// `/jsz`
    Jsz(Query),
    /// A parameter cannot be read, for this reason.
    Bad(String),
    /// Another path.
    Unknown,
}

/// The parameters of `/jsz`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "the parameters are what they are")]
pub struct Query {
    /// Totals of the accounts.
    pub accounts: bool,
    /// Streams; implies accounts.
    pub streams: bool,
    /// Consumers; implies streams.
    pub consumers: bool,
    /// The configuration of streams and consumers.
    pub config: bool,
    /// The names of the Raft groups, and how much is led here.
    pub raft: bool,
    /// Only the leader of the meta group answers.
    pub leader_only: bool,
    /// Only streams that are led here, and those with one replica.
    pub stream_leader_only: bool,
    /// Only this account, if there is one of this name.
    pub account: Option<String>,
    /// The first account of the page.
    pub offset: u64,
    /// The accounts of the page; 0 is the default, 1024.
    pub limit: u64,
}

impl Query {
    /// The greatest number of accounts in the answer.
    pub(super) fn page(&self) -> u64 {
        if self.limit == 0 { LIMIT } else { self.limit }
    }
}

impl Request {
    /// Reads a path with its query.
    #[must_use]
    pub fn parse(path_and_query: &str) -> Self {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        match path {
            "/varz" => Self::Varz,
            "/routez" => Self::Routez,
            "/healthz" => Self::Healthz,
            "/jsz" => parse_query(query).map_or_else(Self::Bad, Self::Jsz),
            _ => Self::Unknown,
        }
    }

    /// Does the answer grow with what there is?
    #[must_use]
    pub fn is_detailed(&self) -> bool {
        matches!(self, Self::Jsz(query) if query.accounts)
    }
}

fn parse_query(text: &str) -> Result<Query, String> {
    let mut query = Query::default();
    for pair in text.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let flag = match name {
            "accounts" => &mut query.accounts,
            "streams" => &mut query.streams,
            "consumers" => &mut query.consumers,
            "config" => &mut query.config,
            "raft" => &mut query.raft,
            "leader-only" => &mut query.leader_only,
            "stream-leader-only" => &mut query.stream_leader_only,
            "acc" => {
                query.account = Some(value.to_owned()).filter(|name| !name.is_empty());
                continue;
            }
            "offset" => {
                query.offset = number(name, value)?;
                continue;
            }
            "limit" => {
                query.limit = number(name, value)?;
                continue;
            }
            _ => continue,
        };
        *flag = boolean(name, value)?;
    }
    query.streams |= query.consumers;
    query.accounts |= query.streams;
    Ok(query)
}

/// The spellings of Go.
fn boolean(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "Error decoding boolean for '{name}': strconv.ParseBool: parsing {value:?}: invalid syntax"
        )),
    }
}

/// The servers take a negative number for none.
fn number(name: &str, value: &str) -> Result<u64, String> {
    if value.is_empty() {
        return Ok(0);
    }
    let number: i64 = value.parse().map_err(|_| {
        format!("Error decoding int for '{name}': strconv.Atoi: parsing {value:?}: invalid syntax")
    })?;
    Ok(u64::try_from(number).unwrap_or_default())
}
