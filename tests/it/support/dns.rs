//! A name server whose records a test changes, and addresses that come and go.
//!
//! It is a fake, because a real one cannot be made to fail in every way. Its messages are read and
//! written by the library that the program has too.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard};

use hickory_resolver::proto::op::{Message, Metadata, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{JoinHandle, JoinSet};

/// How the name server answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// With the records, or that there are none.
    #[default]
    Well,
    /// That it failed.
    Failing,
    /// Not at all.
    Silent,
}

#[derive(Debug, Default)]
struct Zone {
    records: HashMap<String, Vec<RData>>,
    mood: Mood,
    asked: usize,
}

/// A name server; it ends with the value.
pub(crate) struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    task: JoinHandle<()>,
}

impl NameServer {
    /// Starts one without records.
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::<Mutex<Zone>>::default();
        let task = tokio::spawn(answer(socket, Arc::clone(&zone)));
        Self { address, zone, task }
    }

    /// The setting that makes an exporter ask this one.
    pub(crate) fn variable(&self) -> (&'static str, String) {
        ("NATS_EXPORTER_DISCOVERY_NAMESERVER", self.address.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap()
    }

    /// Gives `name` these addresses and no others.
    pub(crate) fn set_addresses(&self, name: &str, addresses: &[&str]) {
        let record = |address: &&str| match address.parse().unwrap() {
            IpAddr::V4(address) => RData::A(address.into()),
            IpAddr::V6(address) => RData::AAAA(address.into()),
        };
        self.lock().records.insert(format!("{name}."), addresses.iter().map(record).collect());
    }

    /// Gives `name` these services, each a host and a port, and no others.
    pub(crate) fn set_services(&self, name: &str, services: &[(&str, u16)]) {
        let record = |(host, port): &(&str, u16)| {
            RData::SRV(SRV::new(0, 0, *port, Name::from_str(&format!("{host}.")).unwrap()))
        };
        self.lock().records.insert(format!("{name}."), services.iter().map(record).collect());
    }

    /// Answers like this from now on.
    pub(crate) fn set_mood(&self, mood: Mood) {
        self.lock().mood = mood;
    }

    /// How often it was asked so far.
    pub(crate) fn asked(&self) -> usize {
        self.lock().asked
    }

    /// Waits until it was asked so many times more.
    pub(crate) async fn asked_again(&self, times: usize) {
        let before = self.asked();
        let asked = async {
            while self.asked() < before + times {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let limit = std::time::Duration::from_secs(60);
        tokio::time::timeout(limit, asked).await.expect("the name server is asked");
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = vec![0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        let question = Message::from_vec(&buffer[..length]).expect("a question");
        if let Some(message) = reply(&question, &mut zone.lock().unwrap()) {
            // A client that has gone is no reason to end.
            let _ = socket.try_send_to(&message.to_vec().unwrap(), client);
        }
    }
}

fn reply(question: &Message, zone: &mut Zone) -> Option<Message> {
    zone.asked += 1;
    let query = question.queries.first()?.clone();
    let id = question.metadata.id;
    let mut message = Message::response(id, question.metadata.op_code);
    message.metadata = Metadata::response_from_request(&question.metadata);
    message.add_query(query.clone());
    match zone.mood {
        Mood::Silent => return None,
        Mood::Failing => message.metadata.response_code = ResponseCode::ServFail,
        Mood::Well => {
            let name = query.name().to_string().to_lowercase();
            let Some(records) = zone.records.get(&name) else {
                message.metadata.response_code = ResponseCode::NXDomain;
                return Some(message);
            };
            let of_type = records.iter().filter(|data| data.record_type() == query.query_type());
            message.add_answers(
                of_type.map(|data| Record::from_rdata(query.name().clone(), 5, data.clone())),
            );
        }
    }
    Some(message)
}

/// An address of a server, as a pod has one: it comes, and goes with the value.
pub(crate) struct Address {
    task: JoinHandle<()>,
}

impl Address {
    /// Listens at `127.0.0.host` on `port`, and passes everything on to the port `to` of this machine.
    pub(crate) async fn start(host: u8, port: u16, to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, host), port)).await.unwrap();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new(); // They end with this task.
            while let Ok((mut client, _)) = listener.accept().await {
                connections.spawn(async move {
                    // A server that is down refuses, and so does its address.
                    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.ok()?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await.ok()
                });
            }
        });
        Self { task }
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        self.task.abort();
    }
}
