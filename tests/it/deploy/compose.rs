//! The files of `deploy/compose`, given to the programs that read them. No container is started: a name of a container
//! becomes an address of this machine, and a mount a file of the repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nats_harness::{Port, Process, VERSIONS, nats_server, tool};
use serde_json::Value;

use super::{accepts, yaml};
use crate::support::exporter::Exporter;

const DIRECTORY: &str = "deploy/compose";
const PATIENCE: Duration = Duration::from_secs(60);
const SERVERS: [&str; 3] = ["nats-1", "nats-2", "nats-3"];

fn compose() -> Value {
    yaml("deploy/compose/compose.yaml").remove(0)
}

fn services(compose: &Value) -> impl Iterator<Item = (&str, &Value)> {
    compose["services"].as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value))
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}

/// The file of the repository that a path of a container is.
fn mounted(compose: &Value, service: &Value, path: &str) -> Option<PathBuf> {
    let configs = service["configs"].as_array().into_iter().flatten();
    for config in configs {
        if config["target"] == path {
            let file = compose["configs"][config["source"].as_str().unwrap()]["file"].as_str();
            return Some(Path::new(DIRECTORY).join(file.unwrap()));
        }
    }
    strings(&service["volumes"]).into_iter().find_map(|volume| {
        let (here, there) = volume.split_once(':').unwrap();
        let rest = path.strip_prefix(there.trim_end_matches(":ro"))?;
        Some(Path::new(DIRECTORY).join(here).join(rest.trim_start_matches('/')))
    })
}

/// The value of a flag of a service's command.
fn flag<'c>(service: &'c Value, flag: &str) -> &'c str {
    let command = strings(&service["command"]);
    let with = format!("{flag}=");
    let glued = command.iter().find_map(|argument| argument.strip_prefix(&with));
    let after = || command.iter().skip_while(|argument| **argument != flag).nth(1).copied();
    glued.or_else(after).unwrap_or_else(|| panic!("{flag} is not given"))
}

#[test]
fn every_mount_is_there_and_used() {
    let compose = compose();
    let mut used = BTreeSet::new();
    for (name, service) in services(&compose) {
        for config in service["configs"].as_array().into_iter().flatten() {
            let source = config["source"].as_str().unwrap();
            let target = config["target"].as_str().unwrap();
            let file = mounted(&compose, service, target).unwrap();
            assert!(file.is_file(), "{name}: {}", file.display());
            used.insert(source.to_owned());
        }
    }
    let all: BTreeSet<String> = compose["configs"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(used, all);
}

#[test]
fn containers_may_do_nothing_that_they_need_not_and_are_seen_by_this_machine_alone() {
    let compose = compose();
    let mut published = BTreeSet::new();
    for (name, service) in services(&compose) {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(strings(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(strings(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        assert!(service["privileged"].is_null() && service["cap_add"].is_null(), "{name}");
        let (_, version) = service["image"].as_str().unwrap().rsplit_once(':').unwrap();
        assert!(version.contains('.') && !version.contains("latest"), "{name}: {version}");
        for port in strings(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port}");
            assert!(published.insert(port.rsplit_once(':').unwrap().0.to_owned()), "twice: {port}");
        }
    }
    assert_eq!(published.len(), 7);
}

#[test]
fn the_servers_are_of_a_tested_version_that_their_health_check_is_right_for() {
    let compose = compose();
    for name in SERVERS {
        let service = &compose["services"][name];
        let image = service["image"].as_str().unwrap();
        let version = image.trim_start_matches("nats:").trim_end_matches("-alpine");
        assert!(VERSIONS.contains(&version), "{version} is tested");
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap());
        assert!((parts.next(), parts.next()) >= (Some(2), Some(11)), "{version}");
        let check = strings(&service["healthcheck"]["test"]);
        assert!(check.last().unwrap().ends_with(":8222/healthz?js-server-only=true"), "{check:?}");
        assert_eq!(service["stop_signal"], "SIGUSR2");
    }
}

/// The servers become a cluster with this configuration, and the exporter finds all of them with its own.
#[tokio::test]
async fn servers_and_exporter_work_with_their_configurations() {
    let compose = compose();
    let dir = tempfile::tempdir().unwrap();
    let ports: Vec<[Port; 3]> = (0..3).map(|_| [(); 3].map(|()| Port::any().unwrap())).collect();
    let mut servers = Vec::new();
    let mut exporter = fs::read_to_string(Path::new(DIRECTORY).join("exporter.yaml")).unwrap();
    for (name, [client, monitor, route]) in SERVERS.iter().zip(&ports) {
        let service = &compose["services"][*name];
        let version = service["image"].as_str().unwrap().trim_start_matches("nats:");
        let binary = nats_server(version.trim_end_matches("-alpine")).unwrap();
        let file = mounted(&compose, service, flag(service, "--config")).unwrap();
        let store = dir.path().join(name);
        let mut text = fs::read_to_string(file).unwrap();
        for (there, here) in [
            ("port: 4222", format!("listen: \"127.0.0.1:{}\"", client.number())),
            ("http: 8222", format!("http: \"127.0.0.1:{}\"", monitor.number())),
            ("0.0.0.0:6222", format!("127.0.0.1:{}", route.number())),
            ("/data", store.display().to_string()),
        ] {
            assert!(text.contains(there), "{there} is there to be replaced");
            text = text.replace(there, &here);
        }
        for (other, [_, _, route]) in SERVERS.iter().zip(&ports) {
            assert!(text.contains(&format!("{other}:6222")), "a route to {other}");
            text = text.replace(&format!("{other}:6222"), &format!("127.0.0.1:{}", route.number()));
        }
        let config = dir.path().join(format!("{name}.conf"));
        fs::write(&config, text).unwrap();
        let target = format!("http://{name}:8222");
        assert!(exporter.contains(&target), "{target} is asked");
        exporter = exporter.replace(&target, &format!("http://127.0.0.1:{}", monitor.number()));
        let arguments = ["--config", config.to_str().unwrap(), "--name", flag(service, "--name")];
        let log = dir.path().join(format!("{name}.log"));
        servers.push(Process::start(&binary, arguments, &log).unwrap());
    }
    let config = dir.path().join("exporter.yaml");
    fs::write(&config, exporter).unwrap();
    let exporter = Exporter::start(&[format!("--config.file={}", config.display())]);
    let well = |samples: &crate::support::samples::Samples| {
        samples.find("nats_tier_state", &[("state", "ok"), ("nats_cluster", "demo")]).count() == 6
            && samples.find("nats_tier_state", &[("state", "ok")]).all(|s| s.text == "1")
    };
    let samples = exporter.until("/metrics", PATIENCE, well).await;
    let names: BTreeSet<&str> =
        samples.find("nats_up", &[]).map(|sample| sample.labels["server"].as_str()).collect();
    assert!(well(&samples), "not a cluster: {names:?}, {}", exporter.log());
    assert_eq!(names, ["n1", "n2", "n3"].into());
}

#[test]
fn the_exporter_takes_its_command() {
    let compose = compose();
    let service = &compose["services"]["nats-exporter"];
    let path = flag(service, "--config.file");
    let file = mounted(&compose, service, path).unwrap();
    accepts(&strings(&service["command"]), &[(path, file.to_str().unwrap())], &[]);
}

/// Runs a program to its end, which has to be a good one.
fn succeeds(program: &str, arguments: &[&str]) {
    let output = Command::new(tool(program).unwrap()).args(arguments).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&told));
}

#[test]
fn prometheus_and_alertmanager_take_their_configurations() {
    let compose = compose();
    let prometheus = &compose["services"]["prometheus"];
    let path = flag(prometheus, "--config.file");
    let file = mounted(&compose, prometheus, path).unwrap();
    let mut text = fs::read_to_string(&file).unwrap();
    for rules in strings(&yaml(file.to_str().unwrap())[0]["rule_files"]) {
        let there = Path::new(path).parent().unwrap().join(rules);
        let here = mounted(&compose, prometheus, there.to_str().unwrap()).unwrap();
        text = text.replace(rules, here.canonicalize().unwrap().to_str().unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("prometheus.yml");
    fs::write(&config, text).unwrap();
    succeeds("promtool", &["check", "config", config.to_str().unwrap()]);

    let alertmanager = &compose["services"]["alertmanager"];
    let file = mounted(&compose, alertmanager, flag(alertmanager, "--config.file")).unwrap();
    succeeds("amtool", &["check-config", file.to_str().unwrap()]);
}

/// Alertmanager and the exporter are asked where they are, and Grafana looks where its files are.
#[test]
fn services_call_each_other_by_their_names() {
    let compose = compose();
    let prometheus = yaml("deploy/compose/prometheus.yml").remove(0);
    let mut targets = BTreeSet::new();
    for config in prometheus["scrape_configs"].as_array().unwrap() {
        targets.extend(strings(&config["static_configs"][0]["targets"]));
        assert!(config["job_name"].as_str().unwrap().contains("nats-exporter"));
    }
    let managers = &prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"];
    targets.extend(strings(managers));
    let source = yaml("deploy/compose/grafana/datasource.yml").remove(0);
    let url = source["datasources"][0]["url"].as_str().unwrap().to_owned();
    targets.insert(url.trim_start_matches("http://"));
    assert_eq!(targets.len(), 3);
    for target in targets {
        let (service, port) = target.split_once(':').unwrap();
        let published = strings(&compose["services"][service]["ports"]);
        assert!(published.iter().any(|p| p.ends_with(&format!(":{port}"))), "{target}");
    }

    let grafana = &compose["services"]["grafana"];
    let provider = "/etc/grafana/provisioning/dashboards/nats-exporter.yml";
    let provider = yaml(mounted(&compose, grafana, provider).unwrap().to_str().unwrap()).remove(0);
    let directory = provider["providers"][0]["options"]["path"].as_str().unwrap().to_owned();
    let dashboards = grafana["configs"].as_array().unwrap().iter().filter(|config| {
        config["target"].as_str().unwrap().starts_with(&format!("{directory}/nats-"))
    });
    assert_eq!(dashboards.count(), 4);
    let home = &grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"];
    assert!(mounted(&compose, grafana, home.as_str().unwrap()).unwrap().is_file());
}
