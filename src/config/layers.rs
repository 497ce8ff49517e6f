//! The raw configuration: file, environment and flags laid over each other.
//!
//! Every value keeps a note of where it was written. Nothing is converted:
//! what a variable or a flag says stays text, so that the password `0123` is
//! not taken for a number.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{FileFormat, Map, Source, Value, ValueKind};

use super::error::{ConfigError, Place, Problem};
use crate::cli::Flags;
use crate::settings::{FILE_VARIABLE, SETTINGS, Setting, Shape, VARIABLE_PREFIX};

/// The environment, with the names sorted.
pub(super) type Environment = BTreeMap<String, String>;

/// The file that was named, if one was.
pub(super) struct Named {
    pub(super) path: PathBuf,
    by: &'static str,
}

/// The file that the flag names, or else the variable.
pub(super) fn file(flags: &Flags, environment: &Environment) -> Option<Named> {
    let from_flag =
        flags.sources.config_file.clone().map(|path| Named { path, by: "--config.file" });
    from_flag.or_else(|| {
        let path = environment.get(FILE_VARIABLE).filter(|path| !path.is_empty())?;
        Some(Named { path: path.into(), by: FILE_VARIABLE })
    })
}

/// Reads the file and lays the environment and the flags over it.
///
/// A value without origin comes from the file.
pub(super) fn merge(
    file: Option<&Named>,
    environment: &Environment,
    flags: &Flags,
) -> Result<Map<String, Value>, ConfigError> {
    let mut builder = config::Config::builder();
    let mut language = "";
    if let Some(named) = file {
        let (text, format) = read(named)?;
        language = if format == FileFormat::Yaml { "YAML" } else { "TOML" };
        let entries = document(&named.path, language, &text, format)?;
        refuse_places(&named.path, &entries)?;
        builder = builder.add_source(Document(entries));
    }
    for setting in SETTINGS {
        if let Some(value) =
            from_flags(setting, flags).or_else(|| from_variable(setting, environment))
        {
            builder = builder
                .set_override(setting.key, value)
                .expect("the keys of the settings are names with dots between");
        }
    }
    let path = file.map(|named| named.path.clone()).unwrap_or_default();
    let merged = builder.build().and_then(|merged| merged.collect());
    merged.map_err(|error| syntax(&path, language, error))
}

/// The library takes `key[7]` for a place in a list, and makes the list as long as that says.
fn refuse_places(path: &Path, entries: &Map<String, Value>) -> Result<(), ConfigError> {
    let mut places: Vec<&String> = entries.keys().filter(|key| key.contains('[')).collect();
    // The order of the raw table is random; messages should not be.
    places.sort();
    let problem = |key: &String| Problem {
        place: Place { origin: path.display().to_string(), key: key.clone(), target: None },
        reason: "unknown key; no key has a bracket".to_owned(),
    };
    let problems: Vec<Problem> = places.into_iter().map(problem).collect();
    if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(problems)) }
}

/// Reads a document in YAML that stands alone.
pub(super) fn yaml(path: &Path, text: &str) -> Result<Map<String, Value>, ConfigError> {
    document(path, "YAML", text, FileFormat::Yaml)
}

fn document(
    path: &Path,
    language: &'static str,
    text: &str,
    format: FileFormat,
) -> Result<Map<String, Value>, ConfigError> {
    let entries = config::File::from_str(text, format).collect();
    entries.map_err(|error| syntax(path, language, error))
}

/// A file that is read already.
#[derive(Debug, Clone)]
struct Document(Map<String, Value>);

impl Source for Document {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

fn syntax(path: &Path, language: &'static str, error: config::ConfigError) -> ConfigError {
    ConfigError::Syntax { path: path.to_owned(), language, reason: reason(error) }
}

fn read(named: &Named) -> Result<(String, FileFormat), ConfigError> {
    let Named { path, by } = named;
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => FileFormat::Yaml,
        Some("toml") => FileFormat::Toml,
        _ => {
            return Err(ConfigError::Extension { path: path.clone(), named_by: by });
        }
    };
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((text, format)),
        Err(reason) => Err(ConfigError::Unreadable { path: path.clone(), named_by: by, reason }),
    }
}

/// What the parser said, on one line and without the lines of the file that it quotes, which
/// look like `3 | password = "x` and may hold a secret.
fn reason(error: config::ConfigError) -> String {
    let text = match error {
        config::ConfigError::FileParse { cause, .. } => cause.to_string(),
        other => other.to_string(),
    };
    let is_quote = |line: &str| {
        line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|')
    };
    let kept: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !is_quote(line)).collect();
    kept.join(": ")
}

fn from_flags(setting: &Setting, flags: &Flags) -> Option<Value> {
    if let Shape::Targets = setting.shape {
        let given = Some(&flags.sources.targets).filter(|targets| !targets.is_empty())?;
        return Some(list("argument TARGET_URL", given.iter().map(String::as_str)));
    }
    let given = flags.settings.get(setting)?;
    let origin = format!("flag --{}", setting.flag?);
    Some(match setting.shape {
        Shape::Many(_) => list(&origin, given.iter().map(String::as_str)),
        _ => Value::new(Some(&origin), given.last()?.as_str()),
    })
}

/// An empty variable counts as not set: that is how a manifest says "none".
fn from_variable(setting: &Setting, environment: &Environment) -> Option<Value> {
    let variable = setting.variable();
    let text =
        environment.get(&variable).map(|text| text.trim()).filter(|text| !text.is_empty())?;
    Some(value(setting.shape, text, &origin(&variable)))
}

/// What stands for `text` in the tree.
pub(super) fn value(shape: Shape, text: &str, origin: &str) -> Value {
    match shape {
        Shape::One(_) | Shape::Switch => Value::new(Some(&origin.to_owned()), text),
        Shape::Many(_) => {
            list(origin, text.split(',').map(str::trim).filter(|item| !item.is_empty()))
        }
        Shape::Targets => list(origin, split_targets(text).iter().map(String::as_str)),
    }
}

fn list<'a>(origin: &str, items: impl Iterator<Item = &'a str>) -> Value {
    let origin = origin.to_owned();
    let items = items.map(|item| Value::new(Some(&origin), item)).collect();
    Value::new(Some(&origin), ValueKind::Array(items))
}

fn origin(variable: &str) -> String {
    format!("environment variable {variable}")
}

/// Targets with commas or blanks between. A word before a URL that is none itself belongs to
/// it: `n1,http://a:8222` is one target.
fn split_targets(text: &str) -> Vec<String> {
    let is_url = |word: &str| word.contains("://");
    let mut words = text
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .peekable();
    let mut targets = Vec::new();
    while let Some(word) = words.next() {
        let is_name = !word.contains([':', '/', '@']);
        match words.next_if(|next| is_name && is_url(next)) {
            Some(url) => targets.push(format!("{word},{url}")),
            None => targets.push(word.to_owned()),
        }
    }
    targets
}

/// Variables with the prefix of the exporter that mean nothing to it.
///
/// `named` are those that the configuration itself names, as the source of a secret.
pub(super) fn unknown_variables<'a>(
    environment: &'a Environment,
    named: &'a [String],
) -> impl Iterator<Item = Problem> + 'a {
    let mut known: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
    known.push(FILE_VARIABLE.to_owned());
    environment
        .iter()
        .filter(|(name, _)| name.starts_with(VARIABLE_PREFIX) && !named.contains(name))
        .filter(|(name, value)| !is_service_link(name, value))
        .map(|(name, _)| name)
        .filter_map(move |name| {
            let closest = closest(name, &known);
            if closest == Some(name) {
                return None;
            }
            let place = Place { origin: origin(name), key: String::new(), target: None };
            let hint = closest.map_or_else(
                || "docs/configuration.md lists them all".to_owned(),
                |closest| format!("did you mean {closest}?"),
            );
            let reason = format!("no setting has this name; {hint}");
            Some(Problem { place, reason })
        })
}

/// The known name that is most like `name`, if any is; `name` itself if it is known.
fn closest<'a>(name: &str, known: &'a [String]) -> Option<&'a String> {
    fn rest(name: &str) -> &str {
        name.strip_prefix(VARIABLE_PREFIX).unwrap_or(name)
    }
    let distance = |known: &str| strsim::damerau_levenshtein(rest(known), rest(name));
    let closest = known.iter().min_by_key(|known| distance(known))?;
    (distance(closest) <= rest(name).len() / 2).then_some(closest)
}

/// Whether Kubernetes made this variable, for a service called `nats-exporter` or
/// `nats-exporter-something`.
///
/// A port of a longer name is recognised by its value as well, such as `tcp://10.0.0.1:7777`,
/// so that somebody's `NATS_EXPORTER_WEB_PORT` is not passed over in silence.
fn is_service_link(name: &str, value: &str) -> bool {
    let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else {
        return false;
    };
    let own = |word: &str| rest == word || rest.starts_with(&format!("{word}_"));
    let other = rest.ends_with("_SERVICE_HOST")
        || rest.ends_with("_SERVICE_PORT")
        || rest.contains("_SERVICE_PORT_")
        || (rest.ends_with("_PORT") && value.contains("://"))
        || ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
            rest.contains("_PORT_")
                && (rest.ends_with(protocol) || rest.contains(&format!("{protocol}_")))
        });
    rest == "SERVICE_HOST" || own("SERVICE_PORT") || own("PORT") || other
}

/// The folder that relative paths in the file start from.
pub(super) fn directory(file: Option<&Named>) -> PathBuf {
    file.and_then(|named| named.path.parent()).map(Path::to_path_buf).unwrap_or_default()
}
