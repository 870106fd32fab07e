//! Three etcd processes and puts of 256 bytes, in plain text with fsync on: what a replicated, durable write costs with
//! the best-known Raft server. Its contract is two messages, written down by hand.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use tonic::{
    Request, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};

use super::drive::Caller;
use crate::eventually::eventually;

/// etcdserverpb.PutRequest, as far as it is used.
#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// etcdserverpb.PutResponse, of which nothing is read.
#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

/// Three members of one cluster. Dropping it kills them.
pub struct Etcd {
    members: Vec<Child>,
    channels: Vec<Channel>,
    next: Arc<AtomicU64>,
}

impl Etcd {
    /// Starts them with their data in `folder`, and waits until a put is answered.
    pub async fn start(program: &Path, folder: &Path, connections: usize) -> anyhow::Result<Self> {
        let mut ports = Vec::new();
        let listeners: Vec<_> =
            (0..6).map(|_| std::net::TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>()?;
        for listener in &listeners {
            ports.push(listener.local_addr()?.port());
        }
        drop(listeners);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let (clients, peers) = ports.split_at(3);
        let initial: Vec<String> = peers.iter().zip(1..).map(|(port, n)| format!("etcd-{n}={}", url(*port))).collect();
        let mut own = Self { members: Vec::new(), channels: Vec::new(), next: Arc::default() };
        for ((client, peer), number) in clients.iter().zip(peers).zip(1..) {
            let name = format!("etcd-{number}");
            let log = std::fs::File::create(folder.join(format!("{name}.log")))?;
            let mut command = Command::new(program);
            command.args(["--name", &name, "--initial-cluster", &initial.join(","), "--initial-cluster-state", "new"]);
            command.args(["--listen-client-urls", &url(*client), "--advertise-client-urls", &url(*client)]);
            command.args(["--listen-peer-urls", &url(*peer), "--initial-advertise-peer-urls", &url(*peer)]);
            command.arg("--data-dir").arg(folder.join(&name)).stdin(Stdio::null());
            command.stdout(log.try_clone()?).stderr(log);
            own.members.push(command.spawn().with_context(|| format!("{} does not start", program.display()))?);
        }
        for number in 0..connections.max(1) {
            own.channels.push(Endpoint::from_shared(url(clients[number % 3]))?.tcp_nodelay(true).connect_lazy());
        }
        eventually(Duration::from_secs(30), "etcd takes a put", || async {
            let mut putter = own.putters(1).pop().expect("one was asked for");
            putter.put(Duration::from_secs(2)).await.map_err(|status| status.to_string())
        })
        .await?;
        Ok(own)
    }

    /// Its process ids.
    pub fn processes(&self) -> Vec<u32> {
        self.members.iter().map(Child::id).collect()
    }

    /// `callers` that put.
    pub fn putters(&self, callers: usize) -> Vec<Putter> {
        let client = |caller: usize| Grpc::new(self.channels[caller % self.channels.len()].clone());
        (0..callers).map(|caller| Putter { client: client(caller), next: self.next.clone() }).collect()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            // Both fail only where it has ended already.
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

/// Puts 256 bytes under a new key, again and again.
pub struct Putter {
    client: Grpc<Channel>,
    next: Arc<AtomicU64>,
}

impl Putter {
    async fn put(&mut self, within: Duration) -> Result<(), Status> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut request =
            Request::new(PutRequest { key: format!("{number:032}").into_bytes(), value: vec![7; VALUE_BYTES] });
        request.set_timeout(within);
        self.client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = tonic_prost::ProstCodec::<PutRequest, PutResponse>::default();
        self.client.unary(request, PathAndQuery::from_static("/etcdserverpb.KV/Put"), codec).await.map(drop)
    }
}

impl Caller for Putter {
    async fn call(&mut self) -> anyhow::Result<bool> {
        self.put(PUT_TIMEOUT).await.context("a put")?;
        Ok(true)
    }
}

const VALUE_BYTES: usize = 256;
const PUT_TIMEOUT: Duration = Duration::from_secs(20);
