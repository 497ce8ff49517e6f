//! Basic authentication: names, bcrypt hashes, and what is known of passwords.
//!
//! An unknown name costs what a known one does: its password is compared with
//! the hash of some user, and then refused in any case. What a comparison came
//! to is remembered, because Prometheus sends the same password every few
//! seconds; what is remembered is a code of name, hash and password under a key
//! that no other process has. One comparison runs at a time, on a thread that
//! gives way, so that guessing costs the exporter little.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use ring::hmac::{HMAC_SHA256, Key};
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

use super::listen::Origin;
use crate::background;
use crate::listener::Listener;

/// Wrong passwords that are remembered. One client that is set up wrongly needs one.
const REMEMBERED: usize = 256;

/// Requests that may wait for a comparison; more are sent away.
const WAITING: usize = 64;

/// Of them, those of one origin: its guesses do not keep others out, and its users may come all at once.
const WAITING_OF_ONE: usize = WAITING / 2;

/// A code under the key of this process, which says nothing to those who do not have the key.
type Code = [u8; 32];

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It comes from a user.
    Right,
    /// It does not.
    Wrong,
    /// It cannot be told now.
    Busy,
}

/// The users who may ask.
pub(super) struct Users {
    key: Key,
    /// By the code of the name, so that the time of a search tells nothing of the names.
    by_name: BTreeMap<Code, User>,
    wrong: Mutex<Recent>,
    queue: Queue,
    turn: Arc<Semaphore>,
    counts: Arc<Listener>,
}

struct User {
    hash: String,
    /// The code of the password that was right.
    right: Mutex<Option<Code>>,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
}

impl Users {
    /// Users with the bcrypt hashes of their passwords; at least one.
    ///
    /// # Panics
    ///
    /// When the system has no randomness.
    pub(super) fn new(hashes: &BTreeMap<String, String>, counts: Arc<Listener>) -> Self {
        let key =
            Key::generate(HMAC_SHA256, &SystemRandom::new()).expect("the system has randomness");
        let user = |(name, hash): (&String, &String)| {
            (code(&key, &[name.as_bytes()]), User { hash: hash.clone(), right: Mutex::default() })
        };
        let by_name = hashes.iter().map(user).collect();
        let turn = Arc::new(Semaphore::new(1));
        Self { key, by_name, wrong: Mutex::default(), queue: Queue::default(), turn, counts }
    }

    /// Whether a request from `origin` with these headers comes from a user.
    pub(super) async fn judge(self: &Arc<Self>, headers: &HeaderMap, origin: Origin) -> Verdict {
        match credentials(headers) {
            Some((name, password)) => self.compare(&name, password, origin).await,
            None => Verdict::Wrong,
        }
    }

    async fn compare(self: &Arc<Self>, name: &[u8], password: Vec<u8>, origin: Origin) -> Verdict {
        let name = code(&self.key, &[name]);
        let known = self.code_of_all(&name, &password);
        if let Some(verdict) = self.recall(&name, &known) {
            return verdict;
        }
        let Some(_place) = self.queue.enter(origin) else {
            return Verdict::Busy;
        };
        let turn = Arc::clone(&self.turn).acquire_owned().await.expect("it is never closed");
        // Somebody before us in the queue may have sent the same.
        if let Some(verdict) = self.recall(&name, &known) {
            return verdict;
        }
        let users = Arc::clone(self);
        let work = move || {
            // The turn ends with the work, also when nobody waits for its result any more.
            let _turn = turn;
            users.counts.password_checks.add();
            let hash = &users.find(&name).hash;
            let is_right = bcrypt::verify(&password, hash).unwrap_or(false);
            users.remember(&name, known, is_right)
        };
        background::run("password", work).await.unwrap_or(Verdict::Busy)
    }

    /// The user with this name, or some other user, always the same for the same name.
    fn find(&self, name: &Code) -> &User {
        self.by_name.get(name).unwrap_or_else(|| {
            let at = usize::from(u16::from_le_bytes([name[0], name[1]])) % self.by_name.len();
            self.by_name.values().nth(at).expect("there is at least one")
        })
    }

    fn code_of_all(&self, name: &Code, password: &[u8]) -> Code {
        code(&self.key, &[name, self.find(name).hash.as_bytes(), password])
    }

    /// What is known of a password.
    fn recall(&self, name: &Code, known: &Code) -> Option<Verdict> {
        let right = *self.find(name).right.lock().unwrap_or_else(PoisonError::into_inner);
        // How long it takes to compare two codes says nothing of what they stand for.
        if right == Some(*known) && self.by_name.contains_key(name) {
            return Some(Verdict::Right);
        }
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.contains(known).then_some(Verdict::Wrong)
    }

    fn remember(&self, name: &Code, known: Code, is_right: bool) -> Verdict {
        match self.by_name.get(name) {
            Some(user) if is_right => {
                *user.right.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
                Verdict::Right
            }
            _ => {
                self.wrong.lock().unwrap_or_else(PoisonError::into_inner).add(known);
                Verdict::Wrong
            }
        }
    }
}

/// Who waits for a comparison: how many of each origin.
#[derive(Default)]
struct Queue(Mutex<HashMap<Origin, usize>>);

impl Queue {
    /// Nothing when too many wait.
    fn enter(&self, origin: Origin) -> Option<InQueue<'_>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, same) = (waiting.values().sum::<usize>(), waiting.get(&origin));
        if all >= WAITING || same.is_some_and(|same| *same >= WAITING_OF_ONE) {
            return None;
        }
        *waiting.entry(origin).or_default() += 1;
        Some(InQueue { queue: self, origin })
    }
}

/// A place in the queue, until it is dropped.
struct InQueue<'q> {
    queue: &'q Queue,
    origin: Origin,
}

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        let mut waiting = self.queue.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut of_one) = waiting.entry(self.origin) {
            *of_one.get_mut() -= 1;
            if *of_one.get() == 0 {
                of_one.remove();
            }
        }
    }
}

/// A code of several parts, none of which can be taken for a part of another.
fn code(key: &Key, parts: &[&[u8]]) -> Code {
    let mut context = ring::hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut code = Code::default();
    code.copy_from_slice(context.sign().as_ref());
    code
}

/// The newest of many.
#[derive(Default)]
struct Recent {
    codes: HashSet<Code>,
    order: VecDeque<Code>,
}

impl Recent {
    fn contains(&self, code: &Code) -> bool {
        self.codes.contains(code)
    }

    fn add(&mut self, code: Code) {
        if !self.codes.insert(code) {
            return;
        }
        self.order.push_back(code);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.codes.remove(&oldest);
        }
    }
}

/// Name and password of `Authorization: Basic`, as RFC 7617 has them.
fn credentials(headers: &HeaderMap) -> Option<(Vec<u8>, Vec<u8>)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let mut name = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let colon = name.iter().position(|byte| *byte == b':')?;
    let password = name.split_off(colon + 1);
    name.truncate(colon);
    Some((name, password))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use hyper::header::HeaderValue;

    use super::*;

    /// The lowest cost that there is: this is not about time.
    const COST: u32 = 4;

    struct Desk {
        users: Arc<Users>,
        counts: Arc<Listener>,
    }

    impl Desk {
        fn new(passwords: &[(&str, &str)]) -> Self {
            let hash = |(name, password): &(&str, &str)| {
                ((*name).to_owned(), bcrypt::hash(password, COST).unwrap())
            };
            let counts = Arc::new(Listener::default());
            let hashes = passwords.iter().map(hash).collect();
            Self { users: Arc::new(Users::new(&hashes, Arc::clone(&counts))), counts }
        }

        async fn judge(&self, credentials: &str) -> Verdict {
            self.judge_from(None, credentials).await
        }

        async fn judge_from(&self, origin: Origin, credentials: &str) -> Verdict {
            let value = format!("Basic {}", BASE64_STANDARD.encode(credentials));
            let headers = [(AUTHORIZATION, HeaderValue::from_str(&value).unwrap())];
            self.users.judge(&headers.into_iter().collect(), origin).await
        }

        fn checks(&self) -> u64 {
            self.counts.password_checks.get()
        }
    }

    #[tokio::test]
    async fn a_password_is_checked_once() {
        let desk = Desk::new(&[("alice", "right"), ("bob", "other")]);
        for _ in 0..3 {
            assert_eq!(desk.judge("alice:right").await, Verdict::Right);
        }
        assert_eq!(desk.checks(), 1);
        assert_eq!(desk.judge("bob:other").await, Verdict::Right);
        assert_eq!(desk.judge("alice:right").await, Verdict::Right);
        assert_eq!(desk.checks(), 2);
        for _ in 0..3 {
            assert_eq!(desk.judge("alice:wrong").await, Verdict::Wrong);
        }
        assert_eq!(desk.checks(), 3);
    }

    #[tokio::test]
    async fn an_unknown_name_costs_a_check_and_never_passes() {
        let desk = Desk::new(&[("alice", "right")]);
        assert_eq!(desk.judge("alice:right").await, Verdict::Right);
        // There is one hash to compare with, and the password fits it.
        for name in ["mallory", "Alice", "", "alice "] {
            let before = desk.checks();
            assert_eq!(desk.judge(&format!("{name}:right")).await, Verdict::Wrong, "{name:?}");
            assert_eq!(desk.checks(), before + 1, "{name:?}");
        }
        assert_eq!(desk.judge("alic:e:right").await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn guesses_push_out_guesses_and_no_user() {
        let desk = Desk::new(&[("alice", "right")]);
        assert_eq!(desk.judge("alice:right").await, Verdict::Right);
        for guess in 0..=REMEMBERED {
            assert_eq!(desk.judge(&format!("alice:{guess}")).await, Verdict::Wrong);
        }
        let checks = desk.checks();
        assert_eq!(desk.judge("alice:right").await, Verdict::Right);
        assert_eq!(desk.judge(&format!("alice:{REMEMBERED}")).await, Verdict::Wrong);
        assert_eq!(desk.checks(), checks);
        assert_eq!(desk.judge("alice:0").await, Verdict::Wrong);
        assert_eq!(desk.checks(), checks + 1, "the oldest guess is forgotten");
    }

    #[tokio::test]
    async fn the_same_password_at_the_same_time_is_checked_once() {
        let desk = Desk::new(&[("alice", "right")]);
        let verdicts = futures_util::future::join_all((0..20).map(|_| desk.judge("alice:right")));
        assert!(verdicts.await.iter().all(|verdict| *verdict == Verdict::Right));
        assert_eq!(desk.checks(), 1);
    }

    /// How many of some guesses cannot even wait while somebody else's password is compared.
    async fn sent_away(desk: &Desk, guesses: impl Iterator<Item = u8>, hosts: u8) -> usize {
        let turn = Arc::clone(&desk.users.turn).acquire_owned().await.unwrap();
        let guesses = guesses.map(|guess| async move {
            let origin = IpAddr::from([192, 0, 2, guess % hosts]);
            desk.judge_from(Some(origin), &format!("mallory:{guess}")).await
        });
        let guesses = futures_util::future::join_all(guesses);
        let told = async {
            tokio::task::yield_now().await;
            assert_eq!(desk.judge("alice:right").await, Verdict::Right, "nobody is in her way");
            drop(turn);
        };
        let (verdicts, ()) = tokio::join!(guesses, told);
        verdicts.iter().filter(|verdict| **verdict == Verdict::Busy).count()
    }

    #[tokio::test]
    async fn who_cannot_even_wait_is_sent_away() {
        let desk = Desk::new(&[("alice", "right")]);
        assert_eq!(desk.judge("alice:right").await, Verdict::Right);
        assert_eq!(sent_away(&desk, 0..=64, 64).await, 1);
        assert_eq!(desk.checks(), 1 + WAITING as u64);
    }

    #[tokio::test]
    async fn guesses_of_one_client_leave_room_for_others() {
        let desk = Desk::new(&[("alice", "right")]);
        assert_eq!(desk.judge("alice:right").await, Verdict::Right);
        assert_eq!(sent_away(&desk, 0..60, 1).await, 60 - WAITING_OF_ONE);
        assert_eq!(sent_away(&desk, 60..120, 2).await, 0, "another has the other half");
        assert!(desk.users.queue.0.lock().unwrap().is_empty(), "nobody is left in the queue");
    }

    #[test]
    fn what_is_no_basic_authentication_is_nobody() {
        let read = |value: &str| {
            credentials(
                &[(AUTHORIZATION, HeaderValue::from_str(value).unwrap())].into_iter().collect(),
            )
        };
        let alice = Some((b"alice".to_vec(), b"se:cret".to_vec()));
        assert_eq!(read("Basic YWxpY2U6c2U6Y3JldA=="), alice);
        assert_eq!(read("bASIC YWxpY2U6c2U6Y3JldA=="), alice);
        for value in
            ["", "Basic", "Basic ", "Bearer YWxpY2U6c2U6Y3JldA==", "Basic YWxpY2U=", "Basic ?"]
        {
            assert_eq!(read(value), None, "{value:?}");
        }
        assert_eq!(credentials(&HeaderMap::new()), None);
    }
}
