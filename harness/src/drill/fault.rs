//! The damage, and its repair.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::plan::Fault;
use super::stage::Stage;
use crate::monitor::{self, MonitorGate, Question};
use crate::workload::fill_store;
use crate::{Account, Error, Node, Result};

/// How long a server may take to end in lame duck mode.
const LAME_DUCK_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);

impl Stage {
    /// Does the damage, and tells to which servers.
    pub(super) async fn inject(&mut self, fault: Fault) -> Result<Vec<usize>> {
        let leader = self.cluster.meta_leader().await.map_or(0, Node::index);
        let followers: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
        Ok(match fault {
            Fault::OneKilled => self.kill(vec![leader]).await?,
            Fault::TwoKilled => self.kill(vec![leader, followers[0]]).await?,
            Fault::Frozen => {
                self.cluster.node(leader).freeze().await?;
                vec![leader]
            }
            Fault::DiskFull => {
                self.fill(SMALL_DISK_FILL).await?;
                vec![0]
            }
            Fault::DiskFullAndProbed => {
                self.fill(SMALL_DISK_FILL).await?;
                for _ in 0..5 {
                    // Three failures of a probe, five seconds apart.
                    tokio::time::sleep(Duration::from_secs(15)).await;
                    self.cluster.node(0).restart().await?;
                }
                vec![0]
            }
            Fault::MaxFileReached => {
                self.fill(SMALL_LIMIT_FILL).await?;
                vec![0, 1, 2]
            }
            Fault::RollingRestart => {
                for node in self.cluster.nodes() {
                    node.lame_duck().await?;
                    ended(node).await?;
                    node.start().await?;
                    self.cluster.wait_ready().await?;
                }
                vec![0, 1, 2]
            }
            Fault::SlowConsumer => {
                self.flood().await?;
                vec![0]
            }
            Fault::StuckConsumer => {
                self.flow.work(false);
                vec![]
            }
            Fault::LaggingReplica => {
                let leader = self.flow.leader().await.unwrap_or_default();
                let follows = |at: &usize| self.cluster.node(*at).name() != leader;
                let victim = followers.into_iter().find(follows).unwrap_or_default();
                self.flow.rush(true);
                self.cluster.slow_down(victim, Some(SLOW_LINK));
                vec![victim]
            }
            Fault::Partition => {
                self.cluster.cut_off(followers[0], true);
                vec![followers[0]]
            }
            Fault::ExporterKilled => {
                self.kill_exporter(0);
                vec![]
            }
            Fault::JszHangs => {
                self.jsz[0].spoil(Question::Jsz, monitor::Fault::Stall);
                vec![0]
            }
            Fault::JszHangsEverywhere => {
                for gate in &self.jsz {
                    gate.spoil(Question::Jsz, monitor::Fault::Stall);
                }
                vec![0, 1, 2]
            }
        })
    }

    /// Repairs the damage. What the cluster needs to become well is up to it.
    pub(super) async fn heal(&mut self, fault: Fault, victims: &[usize]) -> Result<()> {
        match fault {
            Fault::OneKilled | Fault::TwoKilled => {
                for victim in victims {
                    self.cluster.node(*victim).start().await?;
                    if self.sidecars {
                        self.start_exporter(*victim).await?;
                    }
                }
            }
            Fault::Frozen => self.cluster.node(victims[0]).thaw().await?,
            Fault::DiskFull | Fault::DiskFullAndProbed => {
                let node = self.cluster.node(victims[0]);
                node.set_store_size(Some(256 << 20));
                node.restart().await?;
            }
            Fault::MaxFileReached => {
                // The limit is raised, which takes a restart of each.
                for node in self.cluster.nodes() {
                    node.set_max_file("256MB");
                    node.restart().await?;
                }
            }
            Fault::RollingRestart | Fault::SlowConsumer => {}
            Fault::StuckConsumer => self.flow.work(true),
            Fault::LaggingReplica => {
                self.flow.rush(false);
                self.cluster.slow_down(victims[0], None);
            }
            Fault::Partition => self.cluster.cut_off(victims[0], false),
            Fault::ExporterKilled => self.start_exporter(0).await?,
            Fault::JszHangs | Fault::JszHangsEverywhere => {
                self.jsz.iter().for_each(MonitorGate::heal);
            }
        }
        Ok(())
    }

    async fn kill(&mut self, victims: Vec<usize>) -> Result<Vec<usize>> {
        for victim in &victims {
            self.cluster.node(*victim).kill().await?;
            if self.sidecars {
                self.kill_exporter(*victim);
            }
        }
        Ok(victims)
    }

    /// Publishes until the servers have no room left; what they refuse meanwhile is what is wanted.
    async fn fill(&self, bytes: u64) -> Result<()> {
        fill_store(&self.cluster, bytes).await?;
        for _ in 0..3 {
            // What is still free. By now the stream may take nothing and answer nothing, which is no fault.
            let _ = fill_store(&self.cluster, 4 << 20).await;
        }
        Ok(())
    }

    /// Cuts a client that does not read, several times.
    async fn flood(&self) -> Result<()> {
        let node = self.cluster.node(0);
        let address = node.client_url().replacen("nats://", "", 1);
        let publisher = self.cluster.client(Account::App, 0).await?;
        for _ in 0..12 {
            let mut lazy = TcpStream::connect(&address).await.map_err(Error::client("connect"))?;
            let words = b"CONNECT {\"verbose\":false}\r\nSUB flood 1\r\n";
            lazy.write_all(words).await.map_err(Error::client("subscribe"))?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            for _ in 0..64 {
                let flood = publisher.publish("flood", vec![b'f'; 512 << 10].into()).await;
                flood.map_err(Error::client("publish"))?;
            }
            publisher.flush().await.map_err(Error::client("flush"))?;
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        Ok(())
    }
}

/// Half of what the stream of the drill needs in a rush.
const SLOW_LINK: u32 = 150_000;
/// More than the small disk of a server holds, and than its limit.
const SMALL_DISK_FILL: u64 = 24 << 20;
const SMALL_LIMIT_FILL: u64 = 40 << 20;

async fn ended(node: &Node) -> Result<()> {
    let end = std::time::Instant::now() + LAME_DUCK_LIMIT;
    while node.is_alive() {
        if std::time::Instant::now() >= end {
            let what = format!("the end of {}", node.name());
            return Err(Error::Timeout { what, limit: LAME_DUCK_LIMIT });
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
