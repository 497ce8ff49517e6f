//! The command line.
//!
//! Flags are only collected here, as text. Their values are judged together
//! with those of the file and the environment, in `config`, so that a bad value
//! gets the same explanation wherever it was written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Parser};

use crate::settings::{Fallback, SETTINGS, Setting, Shape};

const AFTER_HELP: &str = "\
Every setting can also be written in the configuration file or in the environment.
A flag goes before a variable, a variable before the file, the file before the default.
Credentials, TLS and filters are described in docs/configuration.md.";

/// What is said behind the flags: the settings that have none, and how all of them go together.
fn after_help() -> String {
    let mut text = "Settings without a flag, by their variables:\n".to_owned();
    for setting in SETTINGS.iter().filter(|setting| setting.flag.is_none()) {
        if !matches!(setting.shape, Shape::Targets) {
            let (Fallback::Value(default) | Fallback::Words(default)) = setting.fallback;
            let (variable, description) = (setting.variable(), setting.description);
            let description = description.trim_end_matches('.');
            let _ = writeln!(text, "  {variable}\n          {description} [default: {default}]");
        }
    }
    text + "\n" + AFTER_HELP
}

const ABOUT: &str = "Prometheus exporter for NATS that keeps core messaging and JetStream apart";

const TARGETS_HELP: &str = "\
Monitoring addresses of the NATS servers, such as http://127.0.0.1:8222 or \
n1,http://127.0.0.1:8222; they replace all configured targets \
[default: http://127.0.0.1:8222] [env: NATS_EXPORTER_TARGETS]";

const FILE_HELP: &str =
    "Configuration file, YAML or TOML by its extension [env: NATS_EXPORTER_CONFIG_FILE]";

/// What was written on the command line.
// No `Debug`: a target may carry a password.
#[derive(Clone, Default, Parser)]
#[command(name = "nats-exporter", version, about = ABOUT, long_about = None, after_help = after_help())]
pub struct Flags {
    /// Servers to ask instead of the configured ones.
    #[arg(value_name = "TARGET_URL", help = TARGETS_HELP)]
    pub targets: Vec<String>,
    /// The configuration file.
    #[arg(long = "config.file", value_name = "FILE", help = FILE_HELP)]
    pub config_file: Option<PathBuf>,
    /// Say whether the configuration is valid, and exit: 0 if it is, 2 if not
    #[arg(long = "config.check")]
    pub config_check: bool,
    /// List every metric that the exporter can show, and exit
    #[arg(long = "list-metrics")]
    pub list_metrics: bool,
    /// The flags of the list of settings.
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// The flags that set something, one for each row of [`SETTINGS`] that has a flag.
#[derive(Clone, Default)]
pub struct SettingFlags {
    values: BTreeMap<&'static str, Vec<String>>,
}

impl SettingFlags {
    /// What was written for a setting; nothing if the flag was not given.
    #[must_use]
    pub fn get(&self, setting: &Setting) -> Option<&[String]> {
        self.values.get(setting.key).map(Vec::as_slice)
    }
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        command.args(SETTINGS.iter().filter_map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in SETTINGS.iter().filter(|setting| setting.flag.is_some()) {
            if let Some(values) = matches.get_many::<String>(setting.key) {
                self.values.insert(setting.key, values.cloned().collect());
            }
        }
        Ok(())
    }
}

fn argument(setting: &Setting) -> Option<Arg> {
    let argument = Arg::new(setting.key).long(setting.flag?).help(help(setting));
    Some(match setting.shape {
        Shape::One(value) => argument.value_name(value),
        Shape::Many(value) => argument.value_name(value).action(ArgAction::Append),
        Shape::Switch => argument
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Shape::Targets => return None,
    })
}

/// The description without its final stop, as is usual in help texts, with default and variable.
fn help(setting: &Setting) -> String {
    let (Fallback::Value(default) | Fallback::Words(default)) = setting.fallback;
    let description = setting.description.trim_end_matches('.');
    let variable = setting.variable();
    let repeated = if matches!(setting.shape, Shape::Many(_)) { "; may be repeated" } else { "" };
    format!("{description}{repeated} [default: {default}] [env: {variable}]")
}
