//! The command line.
//!
//! Flags are only collected here, as text. Their values are judged together
//! with those of the file and the environment, in `config`, so that a bad value
//! gets the same explanation wherever it was written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{
    Arg, ArgAction, ArgMatches, Args, CommandFactory as _, FromArgMatches, Parser, Subcommand,
    ValueEnum,
};
use clap_complete::Shell;

use crate::build_info::LONG_VERSION;
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

const CHECK_ABOUT: &str =
    "Ask all servers once: which layer is broken, and may a server be restarted?";

/// What the exit codes of `check` mean.
pub(crate) const CHECK_CODES: [(u8, &str); 6] = [
    (0, "every server may be restarted, one at a time, and nothing is wrong"),
    (1, "the check itself failed"),
    (2, "the flags or the configuration are wrong"),
    (3, "every server may be restarted, and something is wrong"),
    (4, "at least one server should not be restarted now"),
    (5, "it cannot be told: something was not seen"),
];

const CHECK_HELP: &str = "\
`check restart` tells the same of one server.

One address is enough: the other servers of its cluster are looked for at the same monitoring port.";

/// What is said behind the flags of `check`.
fn check_help() -> String {
    let mut text = "Exit codes:\n".to_owned();
    for (code, meaning) in CHECK_CODES {
        let _ = writeln!(text, "  {code}  {meaning}");
    }
    text + CHECK_HELP
}

const RESTART_ABOUT: &str = "Say whether one server may be restarted, and wait until it may";

/// The command line.
// No `Debug`: a target may carry a password.
#[derive(Clone, Parser)]
#[command(name = "nats-exporter", version, long_version = LONG_VERSION, about = ABOUT, long_about = None, after_help = after_help())]
#[command(args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Say whether the configuration is valid, and exit: 0 if it is, 2 if not
    #[arg(long = "config.check")]
    pub config_check: bool,
    /// List every metric that the exporter can show, and exit
    #[arg(long = "list-metrics")]
    pub list_metrics: bool,
    /// What was written of the configuration.
    #[command(flatten)]
    pub flags: Flags,
    /// What to do instead of answering scrapes.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of answering scrapes.
#[derive(Clone, Subcommand)]
pub enum Command {
    /// Ask all servers once.
    #[command(about = CHECK_ABOUT, after_help = check_help(), args_conflicts_with_subcommands = true)]
    Check {
        /// What to ask, and how to say it.
        #[command(flatten)]
        check: CheckFlags,
        /// About one server.
        #[command(subcommand)]
        command: Option<CheckCommand>,
    },
    /// Say whether the exporter that runs with the same configuration can be scraped: 0 if it can, 1 if not
    Healthcheck {
        /// As they were given to the exporter.
        #[command(flatten)]
        flags: Flags,
    },
    /// Write the script that lets a shell complete the flags
    Completions {
        /// For which shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Write the manual page, to be read with `man -l -`
    Man,
}

/// What to check of one server.
#[derive(Clone, Subcommand)]
pub enum CheckCommand {
    /// May it be restarted?
    #[command(about = RESTART_ABOUT)]
    Restart {
        /// The server's name
        #[arg(long, value_name = "NAME")]
        server: String,
        /// Ask again until the server may be restarted, but not longer than this
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "0s")]
        wait: Duration,
        /// What to ask, and how to say it.
        #[command(flatten)]
        check: CheckFlags,
    },
}

/// What a check asks, and how it says what it found.
#[derive(Clone, Args)]
pub struct CheckFlags {
    /// The form of the output
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    pub output: Output,
    /// Ask only the targets, and do not look for other servers of their clusters
    #[arg(long)]
    pub no_discovery: bool,
    /// The monitoring port of servers that are found [default: that of the target that knows them]
    #[arg(long, value_name = "PORT")]
    pub monitoring_port: Option<u16>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub sources: Sources,
}

/// The form of what a check writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// One JSON document, described in docs/check.md
    Json,
}

/// What was written of the configuration.
#[derive(Clone, Default, Args)]
pub struct Flags {
    /// Whom to ask.
    #[command(flatten)]
    pub sources: Sources,
    /// The flags of the list of settings.
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// Where the configuration comes from.
#[derive(Clone, Default, Args)]
pub struct Sources {
    /// Servers to ask instead of the configured ones.
    #[arg(value_name = "TARGET_URL", help = TARGETS_HELP)]
    pub targets: Vec<String>,
    /// The configuration file.
    #[arg(long = "config.file", value_name = "FILE", help = FILE_HELP)]
    pub config_file: Option<PathBuf>,
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
    fn augment_args(command: clap::Command) -> clap::Command {
        command.args(SETTINGS.iter().filter_map(argument))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
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

/// The script that lets `shell` complete the command line.
#[must_use]
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "nats-exporter", &mut script);
    if shell == Shell::Bash {
        // clap_complete takes the hyphen for the border of a subcommand in one place of two, so that flags of
        // subcommands would not be completed.
        let text = String::from_utf8_lossy(&script);
        return text.replace("nats__subcmd__exporter", "nats__exporter").into_bytes();
    }
    script
}
