//! What becomes of servers as DNS tells of them and ceases to.

use super::*;
use crate::cli::Flags;
use crate::config::Config;

const GRACE: Duration = Duration::from_secs(300);

fn group(url: &str, old: Option<&Group>) -> Group {
    let variables = [("NATS_EXPORTER_TARGETS".to_owned(), url.to_owned())];
    let config = Arc::new(Config::load(&Flags::default(), variables).unwrap());
    Group::new(&config.dns_targets[0], &config, Instant::now(), old).unwrap()
}

fn told(addresses: &[&str]) -> (Vec<Service>, usize) {
    let service = |address: &&str| Service::at(address.parse().unwrap());
    (addresses.iter().map(service).collect(), 0)
}

/// The addresses that are asked, and whether each is gone from DNS.
fn asked(group: &Group) -> Vec<(String, bool)> {
    let asked = group.asked().into_iter();
    asked.map(|(probe, found)| (probe.target().base_url().to_owned(), found.is_gone)).collect()
}

fn at(host: &str, is_gone: bool) -> (String, bool) {
    (format!("http://{host}:8222"), is_gone)
}

async fn pass(time: Duration) {
    tokio::time::advance(time).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_asked_on_for_the_grace_period_and_no_longer() {
    let group = group("dns+http://nats:8222", None);
    assert!(!group.is_looked_up() && asked(&group).is_empty());
    group.note(Ok(told(&["10.0.0.1", "10.0.0.2"])), Instant::now());
    group.note(Ok(told(&["10.0.0.2"])), Instant::now());
    assert_eq!(asked(&group), [at("10.0.0.1", true), at("10.0.0.2", false)]);
    pass(GRACE / 2).await;
    group.note(Ok(told(&["10.0.0.2"])), Instant::now());
    assert_eq!(asked(&group).len(), 2);
    pass(GRACE / 2).await;
    assert_eq!(asked(&group), [at("10.0.0.2", false)], "without another look-up");
    let status = group.status();
    assert_eq!((status.known, status.in_grace, status.problem), (1, 0, None));
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_in_time_is_not_forgotten() {
    let group = group("dns+http://nats:8222", None);
    group.note(Ok(told(&["10.0.0.1"])), Instant::now());
    group.note(Ok(told(&[])), Instant::now());
    let status = group.status();
    assert_eq!((status.is_resolved, status.known, status.in_grace), (true, 0, 1));
    assert_eq!(status.unseen(), None, "it is asked");
    pass(GRACE / 10 * 9).await;
    group.note(Ok(told(&["10.0.0.1"])), Instant::now());
    pass(GRACE).await;
    assert_eq!(asked(&group), [at("10.0.0.1", false)]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_changes_nothing_however_long_it_lasts() {
    let group = group("dns+http://nats:8222", None);
    group.note(Err("no answer".to_owned()), Instant::now());
    assert!(group.is_looked_up());
    let unseen = group.status().unseen().unwrap();
    assert_eq!(unseen, "no server of dns+http://nats:8222 was found: no answer");
    group.note(Ok(told(&["10.0.0.1"])), Instant::now());
    for _ in 0..10 {
        pass(GRACE).await;
        group.note(Err("no answer".to_owned()), Instant::now());
    }
    assert_eq!(asked(&group), [at("10.0.0.1", false)]);
    let status = group.status();
    assert!(!status.is_resolved && status.last_success.is_some() && status.unseen().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_another_address_is_not_asked_at_the_old_one() {
    let group = group("dns+http://nats:8222", None);
    group.note(Ok(told(&["10.0.0.1", "10.0.0.2"])), Instant::now());
    let overtake = |group: &Group| {
        let mut state = group.lock();
        state.members[0].is_overtaken = true;
    };
    overtake(&group);
    assert_eq!(asked(&group).len(), 2, "DNS has both");
    group.note(Ok(told(&["10.0.0.2"])), Instant::now());
    assert_eq!(asked(&group), [at("10.0.0.2", false)]);
    assert_eq!(group.status().in_grace, 0);
    // A name server that is behind tells of it once more.
    let memory = Arc::clone(group.lock().members[0].probe.memory());
    group.note(Ok(told(&["10.0.0.1", "10.0.0.2"])), Instant::now());
    let again = Arc::clone(group.asked()[0].0.memory());
    assert!(Arc::ptr_eq(&memory, &again), "its name is known still");
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_servers_and_what_is_known_of_them() {
    let before = group("dns+http://nats:8222", None);
    before.note(Ok(told(&["10.0.0.1", "fd00::1"])), Instant::now());
    before.note(Ok(told(&["fd00::1"])), Instant::now());
    let after = group("dns+http://nats:8222", Some(&before));
    assert_eq!(asked(&after), [at("10.0.0.1", true), at("[fd00::1]", false)]);
    for ((old, _), (new, _)) in before.asked().iter().zip(after.asked()) {
        assert!(Arc::ptr_eq(old.memory(), new.memory()) && !Arc::ptr_eq(old, &new));
    }
    pass(GRACE).await;
    assert_eq!(asked(&after).len(), 1, "the grace period goes on");
}

#[test]
fn second_addresses_are_passed_over_where_all_servers_have_one() {
    let addresses = |texts: &[&str]| -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let (v4, v6) = (["10.0.0.1", "10.0.0.2"], ["fd00::1", "fd00::2"]);
    for (found, asked, passed_over) in [
        ([v4, v6].concat(), v4.to_vec(), 2),
        (v4.to_vec(), v4.to_vec(), 0),
        (v6.to_vec(), v6.to_vec(), 0),
        (vec!["10.0.0.1", "fd00::1", "fd00::2"], vec!["10.0.0.1", "fd00::1", "fd00::2"], 0),
    ] {
        assert_eq!(first_addresses(addresses(&found)), (addresses(&asked), passed_over));
    }
}
