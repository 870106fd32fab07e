//! An operator's connection to one node.

use std::time::Duration;

use switch_proto::operator::v1::{
    self as pb, cluster_service_client::ClusterServiceClient, directory_service_client::DirectoryServiceClient,
    key_service_client::KeyServiceClient, record_service_client::RecordServiceClient,
    reversal_service_client::ReversalServiceClient,
};
use tonic::{Request, Status, transport::Channel};

use crate::channel::{self, TlsFiles};

/// Longest that a node may take to say how it is; a stopped process never answers.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest that a change may take.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Talks to the operator listener of one node.
#[derive(Debug, Clone)]
pub struct OperatorClient {
    address: String,
    channel: Channel,
}

impl OperatorClient {
    /// Connects to `address` when it is first used.
    pub fn new(address: &str, tls: &TlsFiles) -> anyhow::Result<Self> {
        Ok(Self { address: address.to_owned(), channel: channel::lazy(address, tls.client()?)? })
    }

    /// Where it connects to.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The cluster service.
    pub fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel.clone())
    }

    /// The directory service.
    pub fn directory(&self) -> DirectoryServiceClient<Channel> {
        DirectoryServiceClient::new(self.channel.clone())
    }

    /// The reversal service.
    pub fn reversals(&self) -> ReversalServiceClient<Channel> {
        ReversalServiceClient::new(self.channel.clone())
    }

    /// The record service.
    pub fn records(&self) -> RecordServiceClient<Channel> {
        RecordServiceClient::new(self.channel.clone())
    }

    /// The key service.
    pub fn keys(&self) -> KeyServiceClient<Channel> {
        KeyServiceClient::new(self.channel.clone())
    }

    /// Makes a new data key; the same `request_id` makes one. Gives its version.
    pub async fn rotate_key(&self, request_id: &str, purpose: pb::KeyPurpose) -> Result<u32, Status> {
        let request = pb::RotateKeyRequest {
            request_id: request_id.to_owned(),
            purpose: purpose.into(),
            ..pb::RotateKeyRequest::default()
        };
        Ok(self.keys().rotate_key(timed(request, CHANGE_TIMEOUT)).await?.into_inner().version)
    }

    /// What the node knows of the cluster.
    pub async fn status(&self) -> Result<pb::GetStatusResponse, Status> {
        let mut client = self.cluster();
        let asked = client.get_status(timed(pb::GetStatusRequest {}, STATUS_TIMEOUT));
        match tokio::time::timeout(STATUS_TIMEOUT, asked).await {
            Ok(status) => Ok(status?.into_inner()),
            Err(_) => Err(Status::deadline_exceeded(format!("{} says nothing", self.address))),
        }
    }

    /// Changes the directory; the same `request_id` changes it once. Gives the new version.
    pub async fn apply(&self, request_id: &str, changes: Vec<pb::DirectoryChange>) -> Result<u64, Status> {
        let request = pb::ApplyDirectoryRequest { request_id: request_id.to_owned(), expected_version: 0, changes };
        Ok(self.directory().apply_directory(timed(request, CHANGE_TIMEOUT)).await?.into_inner().version)
    }

    /// Hands leadership to `node_id`, 0 for any voter. Gives the new leader.
    pub async fn transfer(&self, node_id: u64) -> Result<u64, Status> {
        let request = pb::TransferLeaderRequest { node_id };
        Ok(self.cluster().transfer_leader(timed(request, CHANGE_TIMEOUT)).await?.into_inner().leader_id)
    }
}

fn timed<T>(message: T, within: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(within);
    request
}
