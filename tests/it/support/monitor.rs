//! A server that is made up: its monitoring port can break anywhere, and it knows what it was asked.
//!
//! What a healthy one says is in [`model`](super::model); what can be done to its answers is in the harness.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use nats_harness::monitor::{Question, Request, Server, Setup};
use nats_harness::{Answer, MonitorGate};

use super::model::Model;

/// Far longer than anything here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running monitor; it ends with the value.
pub(crate) struct Monitor {
    /// Its port.
    pub(crate) gate: MonitorGate,
    made_up: Arc<MadeUp>,
}

struct MadeUp {
    model: Mutex<Model>,
    requests: Mutex<Vec<Request>>,
}

impl Server for MadeUp {
    fn arrived(&self, request: &Request) {
        self.requests.lock().unwrap().push(request.clone());
    }

    fn answer(&self, target: &str) -> Answer {
        let (status, body) = self.model.lock().unwrap().answer(target);
        Answer { status, body }
    }
}

impl Monitor {
    /// Starts a monitor for `model` on a free port.
    pub(crate) async fn start(model: Model) -> Self {
        Self::start_with(model, Setup::default()).await
    }

    /// As [`Monitor::start`], and reached in another way.
    pub(crate) async fn start_with(model: Model, setup: Setup) -> Self {
        let made_up = Arc::new(MadeUp { model: Mutex::new(model), requests: Mutex::default() });
        let gate = MonitorGate::of(Arc::clone(&made_up) as Arc<dyn Server>, setup).await.unwrap();
        Self { gate, made_up }
    }

    /// The address to configure, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        self.gate.url()
    }

    /// Changes what the server says.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Model)) {
        change(&mut self.made_up.model.lock().unwrap());
    }

    /// What the model says to `target`: status and body.
    pub(crate) fn says(&self, target: &str) -> (u16, String) {
        self.made_up.model.lock().unwrap().answer(target)
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Request>> {
        self.made_up.requests.lock().unwrap()
    }

    /// Forgets the requests so far.
    pub(crate) fn forget(&self) {
        self.seen().clear();
    }

    /// The requests since the start, or since they were forgotten.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen().clone()
    }

    /// Paths and queries of the requests for `path`, in the order in which they came.
    pub(crate) fn targets(&self, path: &str) -> Vec<String> {
        let requests = self.requests().into_iter().map(|request| request.target);
        requests.filter(|target| target.split('?').next() == Some(path)).collect()
    }

    /// How often `question` was asked.
    pub(crate) fn count(&self, question: Question) -> usize {
        self.seen().iter().filter(|request| question.is(&request.target)).count()
    }

    /// Waits until `question` was asked `count` times.
    pub(crate) async fn asked(&self, question: Question, count: usize) {
        let wait = async {
            while self.count(question) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "{question:?} was asked {} times", self.count(question));
    }

    /// Waits until no request is being answered.
    pub(crate) async fn idle(&self) {
        let waited = tokio::time::timeout(PATIENCE, self.gate.idle()).await;
        assert!(waited.is_ok(), "requests are still being answered");
    }
}
