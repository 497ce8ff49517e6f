//! `nats-exporter man`: the manual page, made from the flags and the list of settings.
//!
//! It is one page, because what there is to know of the subcommands is short.

use std::io;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::cli::{CHECK_CODES, Cli};
use crate::settings::{FILE_VARIABLE, Fallback, SETTINGS, Shape};

const NAME: &str = "nats-exporter";

const DESCRIPTION: &[&str] = &[
    "Asks NATS servers at their monitoring ports and shows what they answer to Prometheus, at /metrics on port 7777. \
     Core messaging (the base tier) and JetStream (the persistence tier) are asked and shown apart, so that trouble \
     in JetStream neither hides nor delays what is to be known of core messaging.",
    "Without any configuration it asks the server at http://127.0.0.1:8222. Everything can be set by flags, by \
     environment variables and in a file. A flag goes before a variable, a variable before the file, the file \
     before the default.",
    "With a subcommand it does something else and ends: check says which layer is broken and whether a server may be \
     restarted.",
];

/// How the program is called, as words after its name.
const SYNOPSIS: &[(&str, &str)] = &[
    ("", "[OPTIONS] [TARGET_URL...]"),
    ("check", "[OPTIONS] [TARGET_URL...]"),
    ("check restart", "--server NAME [--wait DURATION] [OPTIONS] [TARGET_URL...]"),
    ("healthcheck", "[OPTIONS]"),
    ("completions", "SHELL"),
    ("man", ""),
];

/// A subcommand that has flags of its own.
struct Subcommand {
    path: &'static [&'static str],
    introduction: &'static str,
    /// What its flags are under.
    heading: &'static str,
}

const SUBCOMMANDS: [Subcommand; 2] = [
    Subcommand {
        path: &["check"],
        introduction: "Asks all servers once, finds the other servers of their clusters, and says for each server \
                       what is wrong with it and whether it may be restarted. The exit status says the same.",
        heading: "Options of check",
    },
    Subcommand {
        path: &["check", "restart"],
        introduction: "Says whether one server may be restarted, and waits until it may. Its exit status makes it a \
                       gate for scripts and for preStop hooks.",
        heading: "Options of check restart",
    },
];

const HEALTHCHECK: &str = "Asks /-/ready of the exporter that was started with the same flags, file and environment, \
    on the loopback interface where it listens on every address. It is for containers without a shell. What NATS \
    servers do makes no difference to the answer. It takes the flags of the exporter, of which only --config.file and \
    --web.listen-address matter.";

const FILE: &str = "The file is YAML or TOML by its extension (.yaml, .yml, .toml). Its keys are the names below, with \
    sections for what is between the dots. Credentials, TLS and headers of targets can only be written there. Relative \
    paths start from the folder of the file.";

const FILE_EXAMPLE: &str = "\
targets:
  - http://nats-0.nats:8222
  - url: https://nats-1.nats:8222
    tls:
      ca_file: ca.pem
    basic_auth:
      username: monitor
      password_file: password
scrape:
  timeout: 10s";

const FILES: &[(&str, &str)] = &[
    (
        "/etc/nats-exporter/nats-exporter.yml",
        "The configuration of the service that the packages install. The program itself reads no file that it was \
         not told to.",
    ),
    (
        "/etc/default/nats-exporter",
        "Environment variables of that service, such as credentials that the configuration names.",
    ),
    ("/usr/share/nats-exporter", "Alert rules for Prometheus and dashboards for Grafana."),
];

const PATHS: &[(&str, &str)] = &[
    ("/", "The state of all servers, for people."),
    ("/metrics", "Metrics of all targets; ?tier=base or ?tier=persistence for one layer."),
    ("/probe?target=NAME", "Metrics of one target."),
    ("/-/healthy", "Whether the process answers."),
    ("/-/ready", "Whether it can be scraped."),
    ("/-/reload", "POST reads the configuration again, if web.enable_lifecycle is set."),
];

const SIGNALS: &[(&str, &str)] = &[
    (
        "SIGHUP",
        "Reads the file and the secrets again. If anything is wrong, the running configuration stays, and the log and \
         a metric say so.",
    ),
    ("SIGTERM, SIGINT", "End the program once the scrapes under way are answered."),
];

const CODES: &[(&str, &str)] = &[
    (
        "0",
        "It was told to end; the configuration is valid (--config.check); the exporter is ready (healthcheck).",
    ),
    ("1", "Something failed; the exporter is not ready (healthcheck)."),
    (
        "2",
        "The flags or the configuration are wrong. The message names the flag, the variable or the key.",
    ),
];

const EXAMPLES: &[(&str, &str)] = &[
    ("Show the server on this machine, as a sidecar does:", "nats-exporter"),
    (
        "Show three servers:",
        "nats-exporter http://nats-0:8222 http://nats-1:8222 http://nats-2:8222",
    ),
    (
        "Say what is wrong with a configuration before it is used:",
        "nats-exporter --config.check --config.file /etc/nats-exporter/nats-exporter.yml",
    ),
    ("Which layer is broken?", "nats-exporter check http://nats-0:8222"),
    (
        "Restart a server as soon as the others can do without it:",
        "nats-exporter check restart --server nats-0 --wait 10m http://nats-0:8222 && systemctl restart nats-server",
    ),
    ("Complete flags in this shell:", "source <(nats-exporter completions bash)"),
];

/// The page, in the language of man(7).
///
/// # Panics
/// Never, as it is written to memory.
#[must_use]
pub fn page() -> Vec<u8> {
    let mut page = Vec::new();
    write(&mut page).expect("memory takes everything");
    page
}

fn write(page: &mut Vec<u8>) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    // No date, for the same page at every build; a blank, because nothing at all is not written as an argument.
    let man = Man::new(command.clone()).date(" ").manual("User Commands");
    man.render_title(page)?;
    man.render_name_section(page)?;
    synopsis().to_writer(page)?;
    section("DESCRIPTION", DESCRIPTION).to_writer(page)?;
    man.render_options_section(page)?;
    for Subcommand { path, introduction, heading } in SUBCOMMANDS {
        section(&path.join(" ").to_uppercase(), &[introduction]).to_writer(page)?;
        let subcommand = find(&command, path).mut_args(|argument| argument.help_heading(heading));
        Man::new(subcommand).render_options_section(page)?;
    }
    section("HEALTHCHECK", &[HEALTHCHECK]).to_writer(page)?;
    settings().to_writer(page)?;
    entries("PATHS OF THE HTTP SERVER", PATHS).to_writer(page)?;
    entries("FILES", FILES).to_writer(page)?;
    entries("SIGNALS", SIGNALS).to_writer(page)?;
    codes().to_writer(page)?;
    examples().to_writer(page)?;
    let documentation = concat!(env!("CARGO_PKG_REPOSITORY"), "#readme");
    section("SEE ALSO", &["prometheus(1), nats-server(8), systemd(1)", documentation])
        .to_writer(page)?;
    Ok(())
}

/// The subcommand at the end of `path`.
fn find(command: &Command, path: &[&str]) -> Command {
    let found = path.iter().fold(command, |command, name| {
        command.find_subcommand(name).expect("the names are those of the command line")
    });
    found.clone()
}

fn synopsis() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    for (at, (subcommand, rest)) in SYNOPSIS.iter().enumerate() {
        if at > 0 {
            roff.control("br", []);
        }
        let words = format!("{NAME} {subcommand}");
        roff.text([bold(words.trim_end()), roman(" "), roman(*rest)]);
    }
    roff
}

fn section(heading: &str, paragraphs: &[&str]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    for (at, paragraph) in paragraphs.iter().enumerate() {
        if at > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*paragraph)]);
    }
    roff
}

fn entry(roff: &mut Roff, name: impl Into<Vec<Inline>>, text: &str) {
    roff.control("TP", []);
    roff.text(name);
    roff.text([roman(text)]);
}

fn entries(heading: &str, list: &[(&str, &str)]) -> Roff {
    let mut roff = section(heading, &[]);
    for (name, text) in list {
        entry(&mut roff, [bold(*name)], text);
    }
    roff
}

/// A block that keeps its lines.
fn literal(roff: &mut Roff, text: &str) {
    roff.control("RS", ["4"]);
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.control("RE", []);
}

fn settings() -> Roff {
    let mut roff = section("CONFIGURATION FILE", &[FILE]);
    roff.control("PP", []);
    literal(&mut roff, FILE_EXAMPLE);
    roff.control("SH", ["SETTINGS AND ENVIRONMENT"]);
    let introduction = format!(
        "The key of the file and the environment variable of every setting. An empty variable counts as not set; \
         lists have commas between their items. {FILE_VARIABLE} names the file, as --config.file does."
    );
    roff.text([roman(introduction)]);
    for setting in SETTINGS {
        let (Fallback::Value(default) | Fallback::Words(default)) = setting.fallback;
        let variable = setting.variable();
        let name = [bold(setting.key), roman(", "), italic(variable)];
        let list = matches!(setting.shape, Shape::Many(_) | Shape::Targets);
        let list = if list { " A list." } else { "" };
        let text = format!("{}{list} Default: {default}.", setting.description);
        entry(&mut roff, name, &text);
    }
    roff
}

fn codes() -> Roff {
    let mut roff = entries("EXIT STATUS", CODES);
    roff.control("PP", []);
    roff.text([roman("Of check and check restart, which says the same of one server:")]);
    for (code, meaning) in CHECK_CODES {
        entry(&mut roff, [bold(code.to_string())], &format!("{meaning}."));
    }
    roff
}

fn examples() -> Roff {
    let mut roff = section("EXAMPLES", &[]);
    for (at, (what, command)) in EXAMPLES.iter().enumerate() {
        if at > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*what)]);
        literal(&mut roff, command);
    }
    roff
}
