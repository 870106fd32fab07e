//! Cuts between nodes, made by the packet filter.
//!
//! Every connection between two addresses of 127.0.0.0/8 leaves from 127.0.0.1, so that an address tells whose door a packet
//! is for and not who sent it. That is told by control groups: each node runs in one of its own, and the filter asks which
//! one a packet's socket belongs to. Only the doors for peers are cut: gateways, operators and networks still reach the node.

use std::{fs, net::SocketAddr, path::PathBuf, process};

use anyhow::Context as _;
use switch_tests::harness::{Cluster, Node};

use crate::tool::NFT;

/// What a node that is cut off can no longer do towards its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Hear them.
    Hearing,
    /// Speak to them.
    Speech,
    /// Both.
    Both,
}

/// A control group for each node. It must outlive the nodes.
pub(crate) struct Cells {
    /// Where control groups are mounted.
    mounted: PathBuf,
    name: String,
}

impl Cells {
    /// Makes no group yet.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mounted = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            words.next().filter(|_| words.next() == Some("cgroup2"))
        });
        let mounted =
            mounted.context("no cgroup2 file system is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")?;
        Ok(Self { mounted: mounted.into(), name: format!("payswitch-{}", process::id()) })
    }

    /// Starts every node again, in a group of its own.
    pub(crate) async fn house(&self, cluster: &Cluster) -> anyhow::Result<()> {
        for node in cluster.nodes() {
            let _visit = Visit::enter(self, node.number())?;
            cluster.restart(node.number())?;
        }
        cluster.ready().await
    }

    /// Cuts `node` off from its peers until the cut is dropped.
    pub(crate) fn cut(&self, node: &Node, lost: Lost) -> anyhow::Result<Cut> {
        let door: SocketAddr = node.peer_address().parse()?;
        let (ip, port) = (door.ip(), door.port());
        // nft looks for the path below /sys/fs/cgroup, wherever control groups are mounted.
        let cell = self.cell(node.number());
        let cell = cell.strip_prefix("/sys/fs/cgroup").context("control groups are not below /sys/fs/cgroup")?;
        let own = format!("socket cgroupv2 level 2 \"{}\"", cell.display());
        let (mut sent, mut received) = (String::new(), String::new());
        if lost != Lost::Hearing {
            sent += &format!("{own} tcp dport {port} counter drop\nip saddr {ip} tcp sport {port} counter drop\n");
        }
        if lost != Lost::Speech {
            sent += &format!("ip daddr {ip} tcp dport {port} counter drop\n");
            received += &format!("{own} tcp sport {port} counter drop\n");
        }
        let cut = Cut { table: format!("{}_{}", self.name.replace('-', "_"), node.number()) };
        let chain = |hook: &str, rules: &str| {
            format!("chain {hook} {{\ntype filter hook {hook} priority 0; policy accept;\n{rules}}}\n")
        };
        let table = format!("table inet {} {{\n{}{}}}\n", cut.table, chain("output", &sent), chain("input", &received));
        NFT.run_with(&["-f", "-"], &table)?;
        Ok(cut)
    }

    fn cell(&self, node: usize) -> PathBuf {
        self.mounted.join(&self.name).join(format!("node-{node}"))
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        // Only empty groups go: the others belong to nodes that outlived the test.
        for entry in fs::read_dir(self.mounted.join(&self.name)).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(self.mounted.join(&self.name));
    }
}

/// This process inside a node's group, since a child begins where its parent is. Sockets stay where they were made.
struct Visit {
    home: PathBuf,
}

impl Visit {
    fn enter(cells: &Cells, node: usize) -> anyhow::Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let home =
            own.lines().find_map(|line| line.strip_prefix("0::/")).context("this process has no control group")?;
        let visit = Self { home: cells.mounted.join(home) };
        fs::create_dir_all(cells.cell(node))
            .with_context(|| format!("{} (root is needed)", cells.mounted.display()))?;
        fs::write(cells.cell(node).join("cgroup.procs"), process::id().to_string())?;
        Ok(visit)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let _ = fs::write(self.home.join("cgroup.procs"), process::id().to_string());
    }
}

/// A cut that lasts until it is dropped.
pub(crate) struct Cut {
    table: String,
}

impl Cut {
    /// Heals it; gives the packets it has dropped.
    pub(crate) fn heal(self) -> anyhow::Result<u64> {
        let listed = NFT.run(&["list", "table", "inet", &self.table])?;
        let counts =
            listed.split("counter packets ").skip(1).filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        Ok(counts.sum())
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = NFT.run(&["delete", "table", "inet", &self.table]);
    }
}
