//! What is installed with the program: completions, the manual page, the example configuration; and the health check,
//! which is for images.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nats_exporter::settings::{SETTINGS, Shape};
use nats_harness::{Cluster, newest, repository};
use tempfile::TempDir;

use super::support::authority::Authority;
use super::support::exporter::Exporter;
use super::support::model::Model;
use super::support::monitor::Monitor;

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nats-exporter"));
    command.args(arguments).stdin(Stdio::null()).output().expect("the program starts")
}

/// What the program writes when all is well.
fn written(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?} {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// All flags of the exporter itself, as they are written.
fn flags() -> impl Iterator<Item = String> {
    let others = ["config.check", "config.file", "list-metrics", "help", "version"];
    let settings = SETTINGS.iter().filter_map(|setting| setting.flag);
    settings.chain(others).map(|flag| format!("--{flag}"))
}

/// What bash offers for the last of `words`.
fn offered(words: &[&str]) -> BTreeSet<String> {
    let script = written(&["completions", "bash"]);
    let last = words.len() - 1;
    let ask = format!(
        "\nCOMP_WORDS=({})\nCOMP_CWORD={last}\n\
         complete=$(complete -p nats-exporter)\ncomplete=${{complete##*-F }}\n\
         ${{complete%% *}} nats-exporter '{}' '{}'\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        words.join(" "),
        words[last],
        words[last - 1]
    );
    let mut bash = Command::new("bash")
        .args(["--noprofile", "--norc", "-eu"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("there is bash");
    let mut input = bash.stdin.take().expect("it is piped");
    let writer = std::thread::spawn(move || input.write_all((script + &ask).as_bytes()));
    let output = bash.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("bash reads");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes() {
    let all = offered(&["nats-exporter", "--"]);
    for flag in flags() {
        assert!(all.contains(&flag), "{flag} {all:?}");
    }
    assert_eq!(offered(&["nats-exporter", "--web.l"]), ["--web.listen-address".to_owned()].into());
    assert_eq!(offered(&["nats-exporter", "heal"]), ["healthcheck".to_owned()].into());
    let forms = offered(&["nats-exporter", "check", "--output", "''"]);
    assert_eq!(forms, ["json", "text"].map(str::to_owned).into());
}

#[test]
fn other_shells_know_every_flag() {
    let zsh = written(&["completions", "zsh"]);
    assert!(zsh.starts_with("#compdef nats-exporter"), "{zsh}");
    let fish = written(&["completions", "fish"]);
    for flag in flags() {
        assert!(zsh.contains(&format!("'{flag}")) || zsh.contains(&format!("'*{flag}")), "{flag}");
        let long = format!(" -l {} ", flag.trim_start_matches('-'));
        assert!(fish.contains(&long), "{flag}");
    }
}

/// The text of the page without the marks of its language.
fn plain(page: &str) -> String {
    let mut plain = page.to_owned();
    for (mark, text) in [("\\fB", ""), ("\\fI", ""), ("\\fR", ""), ("\\-", "-"), ("\\&", "")] {
        plain = plain.replace(mark, text);
    }
    plain
}

#[test]
fn the_manual_page_has_everything() {
    let page = written(&["man"]);
    let macros =
        [".SH", ".TP", ".TH", ".PP", ".br", ".RS", ".RE", ".nf", ".fi", ".IP", ".ie", ".el"];
    for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
        assert!(macros.iter().any(|name| line.split(' ').next() == Some(name)), "{line}");
    }
    let opened = page.lines().filter(|line| line.starts_with(".RS")).count();
    assert_eq!(opened, page.lines().filter(|line| line.starts_with(".RE")).count());
    let text = plain(&page);
    for flag in flags() {
        assert!(text.contains(&flag), "{flag}");
    }
    for setting in SETTINGS {
        assert!(text.contains(&format!("{}, {}\n", setting.key, setting.variable())));
        assert!(matches!(setting.shape, Shape::Targets) || text.contains(setting.description));
    }
    for subcommand in ["check", "check restart", "healthcheck", "completions", "man"] {
        assert!(text.contains(&format!("nats-exporter {subcommand} ")), "{subcommand}");
    }
    assert!(text.contains("at least one server should not be restarted now"));
}

#[test]
fn it_tells_its_revision_and_its_build() {
    let short = written(&["-V"]);
    assert_eq!(short, concat!("nats-exporter ", env!("CARGO_PKG_VERSION"), "\n"));
    let long = written(&["--version"]);
    assert!(long.starts_with(&short), "{long}");
    let revision = format!("\n  revision: {}\n", nats_exporter::build_info::REVISION);
    assert!(long.contains(&revision), "{long}");
    for field in ["\n  platform: ", "-linux-", "\n  compiler: rustc ", "\n  profile:  debug\n"] {
        assert!(long.contains(field), "{field} {long}");
    }
}

fn health(arguments: &[&str]) -> Output {
    run(&[&["healthcheck"], arguments].concat())
}

/// The flag for a listener at the port of `url`.
fn listening(host: &str, url: &str) -> String {
    let (_, port) = url.rsplit_once(':').expect("a port");
    format!("--web.listen-address={host}:{port}")
}

#[tokio::test]
async fn health_is_what_the_exporter_says_of_itself() {
    let mut server = Monitor::start(Model::default()).await;
    let mut exporter = Exporter::start(&[server.url()]);
    let (own, every) = (listening("127.0.0.1", exporter.url()), listening("", exporter.url()));
    for flag in [&own, &every] {
        let well = health(&[flag]);
        assert!(well.status.success() && well.stderr.is_empty(), "{flag} {well:?}");
    }
    server.gate.stop().await;
    assert!(
        health(&[&own]).status.success(),
        "a server that is down is not the exporter's illness"
    );
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(exporter.pid()).expect("a process id")),
        nix::sys::signal::Signal::SIGTERM,
    )
    .expect("it runs");
    exporter.ended(std::time::Duration::from_secs(20)).await.expect("it ends");
    let gone = health(&[&own]);
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    let said = String::from_utf8(gone.stderr).expect("UTF-8");
    assert!(said.contains("/-/ready") && said.contains("refused"), "{said}");
}

#[tokio::test]
async fn somebody_else_at_the_port_is_not_the_exporter() {
    let cluster = Cluster::builder(newest()).start().await.expect("a server");
    let output = health(&[&listening("127.0.0.1", &cluster.node(0).monitor_url())]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("answers with 404"), "{output:?}");
}

#[test]
fn health_needs_nothing_of_the_configuration_but_the_address() {
    let exporter = Exporter::start::<&str>(&[]);
    let (_, address) = exporter.url().rsplit_once('/').expect("a scheme");
    let folder = TempDir::new().expect("a folder");
    let check = |content: &str| {
        let file = folder.path().join("nats-exporter.yml");
        std::fs::write(&file, content).expect("the folder can be written");
        health(&["--config.file", file.to_str().expect("UTF-8")])
    };
    let listen = format!("web: {{listen_addresses: [\"{address}\"]}}\n");
    let output = check(&(listen + "scrape: {timeout: soon}\n"));
    assert!(output.status.success(), "{output:?}");
    // 2 would mean something else to Docker.
    for (content, message) in
        [("web: {listen_addresses: [x]}\n", "web.listen_addresses"), ("web: [\n", "YAML")]
    {
        let output = check(content);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(message), "{output:?}");
    }
}

fn check_config(file: &Path) {
    let output = run(&["--config.check", "--config.file", file.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The example is right as it is, and with everything in it that is commented out.
#[test]
fn the_configuration_of_the_packages_is_right() {
    let example = repository().join("deploy/nats-exporter.yml");
    check_config(&example);
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("nats-password"), "secret").expect("it can be written");
    let authority = Authority::new();
    std::fs::copy(authority.file("ca.pem"), folder.path().join("nats-ca.pem"))
        .expect("it can be copied");
    let text = std::fs::read_to_string(&example).expect("the example");
    // One space, and only one, is before what is said to people.
    let is_said = |line: &str| line.starts_with("# ") && !line.starts_with("#  ");
    let is_example = |line: &str| line.starts_with('#') && !is_said(line);
    assert!(text.lines().filter(|line| is_example(line)).count() > 20);
    let lines = text.lines().map(|line| if is_example(line) { &line[1..] } else { line });
    let all = lines.collect::<Vec<_>>().join("\n");
    let all = all.replace("/etc/nats-exporter", folder.path().to_str().expect("UTF-8"));
    let file = folder.path().join("all.yml");
    std::fs::write(&file, all).expect("it can be written");
    check_config(&file);
}

/// zig would fail in the middle, and look like a broken C compiler.
#[test]
fn a_static_build_is_refused_where_too_few_files_may_be_open() {
    let command = "ulimit -n 1000 && exec tools/build-release x86_64-unknown-linux-musl";
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", command]).current_dir(repository()).output().expect("a shell");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(said.contains("1000 files") && said.contains("--ulimit nofile="), "{said}");
}
