//! The manifests for Kubernetes: against the program, against the measurements, and against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use nats_exporter::catalog::describe;
use nats_exporter::settings::{Fallback, SETTINGS, Setting};
use serde_json::{Value, json};

use super::probes::{VALUES, VALUES_2_11};
use super::{accepts, texts, yaml};
use crate::support::exporter::Exporter;

const CENTRAL: &str = "deploy/kubernetes/central";
const NETWORK_POLICY: &str = "deploy/kubernetes/sidecar/network-policy/networkpolicy.yaml";

/// What the Prometheus operator puts on every target by itself.
const OF_THE_OPERATOR: [&str; 8] =
    ["job", "instance", "namespace", "service", "pod", "container", "endpoint", "node"];

/// The labels that the NATS chart gives its pods, and selects them by.
fn chart_labels() -> Value {
    json!({"app.kubernetes.io/name": "nats", "app.kubernetes.io/component": "nats"})
}

fn one(path: &str) -> Value {
    let mut documents = yaml(path);
    assert_eq!(documents.len(), 1, "{path} has one document");
    documents.remove(0)
}

fn central(file: &str) -> Value {
    one(&format!("{CENTRAL}/{file}"))
}

fn contains(all: &Value, some: &Value) -> bool {
    let some = some.as_object().unwrap();
    !some.is_empty() && some.iter().all(|(key, value)| all[key] == *value)
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}

/// The name of a port of the central exporter's container.
fn port_of(container: &Value) -> &str {
    let [port] = container["ports"].as_array().unwrap().as_slice() else { panic!("one port") };
    assert_eq!(port["containerPort"], listen_port());
    port["name"].as_str().unwrap()
}

/// The port on which the exporter listens without being told.
fn listen_port() -> u64 {
    let Fallback::Value(addresses) = Setting::find("web.listen_addresses").unwrap().fallback else {
        panic!("it has a default")
    };
    addresses.trim_start_matches(':').parse().unwrap()
}

// ------------------------------------------------------------------------------------------- files

/// All kustomizations of the repository, by their directories.
fn kustomizations() -> BTreeMap<String, Value> {
    let found = texts("deploy").into_iter().filter(|path| path.ends_with("kustomization.yaml"));
    let others = ["alerts/kustomization.yaml", "dashboards/kustomization.yaml"].map(str::to_owned);
    found
        .chain(others)
        .map(|path| (path.trim_end_matches("/kustomization.yaml").to_owned(), one(&path)))
        .collect()
}

/// What a kustomization takes from its own directory, and the directories that it takes whole.
fn taken(kustomization: &Value) -> (BTreeSet<&str>, Vec<&str>) {
    let (files, directories): (Vec<_>, Vec<_>) = strings(&kustomization["resources"])
        .into_iter()
        .partition(|resource| Path::new(resource).extension().is_some());
    let generators = kustomization["configMapGenerator"].as_array().into_iter().flatten();
    let generated = generators.flat_map(|generator| strings(&generator["files"]));
    (files.into_iter().chain(generated).collect(), directories)
}

#[test]
fn kustomizations_take_what_there_is() {
    let all = kustomizations();
    assert!(all.len() >= 6, "they were found");
    for (directory, kustomization) in &all {
        let (files, directories) = taken(kustomization);
        for file in &files {
            assert!(Path::new(directory).join(file).is_file(), "{directory}: {file}");
        }
        for other in directories {
            let path = Path::new(directory).join(other).canonicalize().unwrap();
            assert!(path.join("kustomization.yaml").is_file(), "{directory}: {other}");
        }
        let meant = |name: &str| match directory.as_str() {
            "alerts" => name == "prometheusrule.yaml",
            "dashboards" => Path::new(name).extension().is_some_and(|e| e == "json"),
            _ => Path::new(name).extension().is_some_and(|e| e == "yaml"),
        };
        for entry in fs::read_dir(directory).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let left_out = meant(&name) && name != "kustomization.yaml" && !files.contains(&*name);
            assert!(!left_out, "{directory}/kustomization.yaml leaves {name} out");
        }
    }
}

#[test]
fn dashboards_fit_into_config_maps() {
    let kustomization = one("dashboards/kustomization.yaml");
    assert_eq!(kustomization["generatorOptions"]["labels"]["grafana_dashboard"], "1");
    for file in taken(&kustomization).0 {
        let bytes = fs::metadata(Path::new("dashboards").join(file)).unwrap().len();
        assert!(bytes < 1_000_000, "{file} has {bytes} bytes, and a ConfigMap 1 MiB at most");
    }
}

#[test]
fn every_image_of_ours_has_the_version_of_the_program() {
    let version = env!("CARGO_PKG_VERSION");
    let mut seen = 0;
    for path in texts("deploy") {
        for line in fs::read_to_string(&path).unwrap().lines() {
            let ours = line.trim().strip_prefix("image: ghcr.io/nats-exporter/nats-exporter:");
            let tag = line.trim().strip_prefix("tag: ").or(line.trim().strip_prefix("newTag: "));
            if let Some(found) = ours.or(tag) {
                assert_eq!(found, version, "{path}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 4, "images were found: {seen}");
}

// ------------------------------------------------------------------------------------ the program

#[test]
fn the_program_takes_flags_variables_and_configurations() {
    let deployment = central("deployment.yaml");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    for directory in [CENTRAL, "deploy/kubernetes/example"] {
        let file = format!("{directory}/exporter.yaml");
        accepts(&strings(&container["args"]), &[("/etc/nats-exporter/exporter.yaml", &file)], &[]);
    }

    let values = one(VALUES);
    let exporter = &values["promExporter"];
    let variables: Vec<(&str, &str)> = exporter["env"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or("nats-0")))
        .collect();
    assert!(!variables.is_empty());
    accepts(&strings(&exporter["merge"]["args"]), &[], &variables);
    assert_eq!(exporter["port"], listen_port(), "the flags say nothing about it");
}

#[tokio::test]
async fn the_program_has_every_path_that_is_asked_for() {
    let exporter = Exporter::start::<&str>(&[]);
    let mut paths = BTreeSet::new();
    let deployment = central("deployment.yaml");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let sidecar = &one(VALUES)["promExporter"]["merge"];
    for (probe, port) in [
        (&container["livenessProbe"], port_of(container)),
        (&container["readinessProbe"], port_of(container)),
        (&sidecar["livenessProbe"], "prom-metrics"),
    ] {
        assert_eq!(probe["httpGet"]["port"], port);
        paths.insert(probe["httpGet"]["path"].as_str().unwrap().to_owned());
    }
    assert!(sidecar["readinessProbe"].is_null(), "it would take its server out of the Service");
    for (_, endpoint) in endpoints() {
        let tiers: Vec<String> =
            strings(&endpoint["params"]["tier"]).iter().map(|t| format!("tier={t}")).collect();
        paths.insert(format!("{}?{}", endpoint["path"].as_str().unwrap(), tiers.join("&")));
    }
    assert_eq!(paths.len(), 4, "{paths:?}");
    for path in paths {
        assert_eq!(exporter.get(&path).await.status, 200, "{path}");
    }
}

// --------------------------------------------------------------------------------------- monitors

/// The endpoints of the two monitors, with the name of the monitor.
fn endpoints() -> Vec<(&'static str, Value)> {
    let service = central("servicemonitor.yaml")["spec"]["endpoints"].clone();
    let pod =
        one(VALUES)["promExporter"]["podMonitor"]["merge"]["spec"]["podMetricsEndpoints"].clone();
    let list = |name, endpoints: Value| {
        let Value::Array(endpoints) = endpoints else { panic!("{name} has endpoints") };
        endpoints.into_iter().map(move |endpoint| (name, endpoint)).collect::<Vec<_>>()
    };
    [list("ServiceMonitor", service), list("PodMonitor", pod)].concat()
}

#[test]
fn monitors_ask_for_each_tier_once_and_name_jobs_as_the_rules_want() {
    let mut tiers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut jobs = BTreeSet::new();
    for (monitor, endpoint) in endpoints() {
        let of_endpoint = strings(&endpoint["params"]["tier"]).into_iter().map(str::to_owned);
        tiers.entry(monitor).or_default().extend(of_endpoint);
        let relabelings = endpoint["relabelings"].as_array().unwrap();
        let job = relabelings.iter().find(|relabeling| relabeling["targetLabel"] == "job").unwrap();
        let job = job["replacement"].as_str().unwrap();
        assert!(job.contains("nats-exporter"), "the rules look for this: {job}");
        jobs.insert((monitor, job.to_owned()));
        let seconds = |field: &str| -> u32 {
            endpoint[field].as_str().unwrap().trim_end_matches('s').parse().unwrap()
        };
        assert!(seconds("scrapeTimeout") < seconds("interval"), "{monitor}");
    }
    let mut all: Vec<String> =
        describe().iter().flat_map(|table| table.tiers.iter().map(ToString::to_string)).collect();
    all.sort();
    all.dedup();
    for found in tiers.values_mut() {
        found.sort();
        assert_eq!(*found, all, "each tier, and none twice");
    }
    assert_eq!(jobs.len(), 4, "two monitors, two jobs each: {jobs:?}");
}

/// Where a target has a label that a metric has as well, Prometheus renames that of the metric, and rules find nothing.
#[test]
fn monitors_drop_the_labels_that_metrics_have_themselves() {
    let of_metrics: BTreeSet<&str> =
        describe().iter().flat_map(|table| table.labels.iter().copied()).collect();
    let clash: Vec<&str> =
        OF_THE_OPERATOR.into_iter().filter(|label| of_metrics.contains(label)).collect();
    assert_eq!(clash, ["endpoint"], "the one that this test is about");
    for (monitor, endpoint) in endpoints() {
        let relabelings = endpoint["relabelings"].as_array().unwrap();
        let dropped: Vec<&str> = relabelings
            .iter()
            .filter(|relabeling| relabeling["action"] == "labeldrop")
            .flat_map(|relabeling| relabeling["regex"].as_str().unwrap().split('|'))
            .collect();
        assert!(clash.iter().all(|label| dropped.contains(label)), "{monitor}: {dropped:?}");
    }
}

// ------------------------------------------------------------------------------- names among them

#[test]
fn services_monitors_policies_and_pods_mean_each_other() {
    let deployment = central("deployment.yaml");
    let template = &deployment["spec"]["template"];
    let labels = &template["metadata"]["labels"];
    let container = &template["spec"]["containers"][0];
    let port = port_of(container);
    assert!(contains(labels, &deployment["spec"]["selector"]["matchLabels"]));

    let service = central("service.yaml");
    assert!(contains(labels, &service["spec"]["selector"]));
    let [service_port] = service["spec"]["ports"].as_array().unwrap().as_slice() else {
        panic!("one port")
    };
    assert_eq!(service_port["targetPort"], port);

    let monitor = central("servicemonitor.yaml");
    assert!(contains(&service["metadata"]["labels"], &monitor["spec"]["selector"]["matchLabels"]));
    for (monitor, endpoint) in endpoints() {
        let expected =
            if monitor == "PodMonitor" { &json!("prom-metrics") } else { &service_port["name"] };
        assert_eq!(endpoint["port"], *expected, "{monitor}");
    }

    let policy = central("networkpolicy.yaml");
    assert!(contains(labels, &policy["spec"]["podSelector"]["matchLabels"]));
    assert_eq!(policy["spec"]["ingress"][0]["ports"], json!([{"port": port, "protocol": "TCP"}]));
    let egress = policy["spec"]["egress"].as_array().unwrap();
    let names = egress.iter().find(|rule| rule["to"].is_null()).unwrap();
    assert_eq!(names["ports"].as_array().unwrap().len(), 2, "DNS by UDP and TCP");
    let servers = egress.iter().find(|rule| !rule["to"].is_null()).unwrap();
    assert_eq!(servers["to"][0]["podSelector"]["matchLabels"], chart_labels());
    let target = &yaml(&format!("{CENTRAL}/exporter.yaml"))[0]["targets"][0];
    let target_port = target.as_str().unwrap().rsplit(':').next().unwrap();
    assert_eq!(servers["ports"][0]["port"].to_string(), target_port);

    let affinity = &template["spec"]["affinity"]["podAntiAffinity"];
    let term = &affinity["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"];
    assert_eq!(term["labelSelector"]["matchLabels"], chart_labels());

    let generator = &central("kustomization.yaml")["configMapGenerator"][0];
    let volume = &template["spec"]["volumes"][0];
    assert_eq!(volume["configMap"]["name"], generator["name"]);
    let mount = &container["volumeMounts"][0];
    assert_eq!(mount["name"], volume["name"]);
    let file = strings(&generator["files"])[0];
    let path = format!("--config.file={}/{file}", mount["mountPath"].as_str().unwrap());
    assert_eq!(strings(&container["args"]), [path]);
}

#[test]
fn the_policy_for_the_servers_shuts_neither_clients_nor_routes() {
    let policy = one(NETWORK_POLICY);
    assert_eq!(policy["spec"]["podSelector"]["matchLabels"], chart_labels());
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
    let rules = policy["spec"]["ingress"].as_array().unwrap();
    let rule = |port: &str| {
        let named = |rule: &&Value| {
            rule["ports"].as_array().unwrap().iter().any(|named| named["port"] == port)
        };
        rules.iter().find(named).unwrap_or_else(|| panic!("{port} is shut"))
    };
    assert!(rule("nats")["from"].is_null(), "clients may be anywhere");
    for port in ["cluster", "monitor"] {
        assert_eq!(rule(port)["from"][0]["podSelector"]["matchLabels"], chart_labels());
    }
    assert!(!rule("prom-metrics")["from"].is_null());
}

// ---------------------------------------------------------------------------- what a pod may do

/// The profile `restricted` of the pod security standards, and more.
fn is_restricted(context: &Value, container: &Value, whose: &str) {
    let of = |field: &str| match &container["securityContext"][field] {
        Value::Null => &context[field],
        found => found,
    };
    assert_eq!(*of("runAsNonRoot"), true, "{whose}");
    assert_eq!(*of("runAsUser"), 65532, "{whose}: the user of the image");
    assert_eq!(of("seccompProfile")["type"], "RuntimeDefault", "{whose}");
    assert_eq!(*of("allowPrivilegeEscalation"), false, "{whose}");
    assert_eq!(*of("readOnlyRootFilesystem"), true, "{whose}");
    assert_eq!(of("capabilities")["drop"], json!(["ALL"]), "{whose}");
}

#[test]
fn pods_may_do_nothing_that_they_need_not() {
    let deployment = central("deployment.yaml");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    is_restricted(&pod["securityContext"], &pod["containers"][0], "central");

    let values = one(VALUES);
    assert_eq!(values["podTemplate"]["merge"]["spec"]["automountServiceAccountToken"], false);
    is_restricted(&Value::Null, &values["promExporter"]["merge"], "sidecar");
}

// --------------------------------------------------------------------------------------- figures

const MEDIUM: &str = "### M: 500 streams, 5,000 consumers";
const LARGE: &str = "### L: 5,000 streams, 50,000 consumers";
const CLUSTER: &str = "L in a cluster of 3, R3, 2 accounts, 250 mirrors, ours";

/// A figure of a table in `docs/performance.md`, below the heading that begins so.
fn measured(heading: &str, row: &str, column: &str) -> f64 {
    let text = fs::read_to_string("docs/performance.md").unwrap();
    let section = text.split_once(heading).unwrap_or_else(|| panic!("{heading}")).1;
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = section.lines().skip_while(|line| !line.starts_with('|'));
    let at = cells(lines.next().unwrap()).iter().position(|name| name == column);
    let line = lines.map(cells).find(|cells| cells[0] == row).unwrap_or_else(|| panic!("{row}"));
    line[at.unwrap_or_else(|| panic!("{column}"))].replace(',', "").parse().unwrap()
}

fn quantity(text: &Value, unit: &str) -> f64 {
    text.as_str().unwrap().strip_suffix(unit).unwrap().parse().unwrap()
}

/// Requests hold what was measured, and limits twice of that.
#[test]
fn resources_are_what_was_measured() {
    let configured = "ours, with configuration";
    let medium = measured(MEDIUM, configured, "peak MiB");
    let large = measured(LARGE, configured, "peak MiB");
    let cluster = measured("## Growth", &format!("{CLUSTER}, with configuration"), "peak MiB");
    // A scrape every 30 s.
    let thousandths = |milliseconds: f64| milliseconds / 30.0;
    let of_large = thousandths(measured(LARGE, "ours, average", "CPU ms"));
    let of_cluster = thousandths(measured("## Growth", CLUSTER, "CPU ms"));
    let sidecar = &one(VALUES)["promExporter"]["merge"]["resources"];
    let deployment = central("deployment.yaml");
    let central = &deployment["spec"]["template"]["spec"]["containers"][0]["resources"];
    for (resources, request, limit, cpu) in
        [(sidecar, medium, large, of_large), (central, cluster, cluster, of_cluster)]
    {
        let requested = quantity(&resources["requests"]["memory"], "Mi");
        let limited = quantity(&resources["limits"]["memory"], "Mi");
        assert!((request..3.0 * request).contains(&requested), "{request} and {requested}");
        assert!((2.0 * limit..4.0 * limit).contains(&limited), "{limit} and {limited}");
        let processor = quantity(&resources["requests"]["cpu"], "m");
        assert!((cpu..3.0 * cpu).contains(&processor), "{cpu} and {processor}");
        assert!(resources["limits"]["cpu"].is_null(), "who is held back sees slow servers");
    }
}

/// What a comment of the values says of the settings.
#[test]
fn values_say_nothing_of_settings_that_are_not_there() {
    for path in [VALUES, VALUES_2_11] {
        let text = fs::read_to_string(path).unwrap();
        for word in text.split_whitespace().filter(|word| word.starts_with("NATS_EXPORTER_")) {
            let name = word.trim_end_matches(|c: char| !c.is_ascii_uppercase());
            assert!(SETTINGS.iter().any(|setting| setting.variable() == name), "{path}: {name}");
        }
    }
}
