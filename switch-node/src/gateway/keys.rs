//! The switch's public keys over gRPC, for gateways that seal card data.

use std::sync::Arc;

use switch_domain::{keyring::DataKey, time::LogTime};
use switch_proto::gateway::v1::{self as pb, key_service_server::KeyService};
use tonic::{Request, Response, Status};

use super::{
    layers::admission::Admission,
    service::reader,
    stack::of_flow,
    status::{GatewayError, Unavailable},
};
use crate::{
    flow::{Flow, FlowError},
    security::{data_keys::DataKeys, sealing},
};

/// The service.
#[derive(Clone)]
pub struct SealingKeys {
    flow: Arc<Flow>,
    admission: Arc<Admission>,
    keys: Arc<DataKeys>,
}

impl SealingKeys {
    /// Of a node.
    #[must_use]
    pub fn new(flow: Arc<Flow>, admission: Arc<Admission>, keys: Arc<DataKeys>) -> Self {
        Self { flow, admission, keys }
    }

    async fn list(
        &self,
        request: Request<pb::ListSealingKeysRequest>,
    ) -> Result<pb::ListSealingKeysResponse, GatewayError> {
        let read = reader(&self.flow, &self.admission, &request).await?;
        let journal = self.flow.journal();
        journal.read_barrier(read.until).await.map_err(|fault| of_flow(FlowError::Read(fault)))?;
        let keyring = journal.shared().keyring.borrow().clone();
        let keys: Vec<_> = keyring.published(journal.log_time()).filter_map(|key| self.published(key)).collect();
        if keys.is_empty() {
            return Err(GatewayError::Unavailable(Unavailable::Starting));
        }
        let (gateway_id, required) = (read.gateway.id.to_string(), read.gateway.require_sealed);
        Ok(pb::ListSealingKeysResponse { gateway_id, required, keys })
    }

    /// A key as it is told. Its public half is that of the private one, so that nobody seals to a key that does not open; a key
    /// that does not open here is not told.
    fn published(&self, key: &DataKey) -> Option<pb::SealingKey> {
        let unix_ms = |time: LogTime| i64::try_from(time.0).unwrap_or(i64::MAX);
        let opening = self.keys.sealing(key.version).ok()?; // the keeper says why not
        Some(pb::SealingKey {
            key_id: sealing::key_id(key.version),
            algorithm: pb::SealingAlgorithm::HpkeX25519HkdfSha256Aes256Gcm.into(),
            public_key: opening.public().to_vec().into(),
            not_before_unix_ms: unix_ms(key.since),
            not_after_unix_ms: key.until.map_or(0, unix_ms),
        })
    }
}

#[tonic::async_trait]
impl KeyService for SealingKeys {
    async fn list_sealing_keys(
        &self,
        request: Request<pb::ListSealingKeysRequest>,
    ) -> Result<Response<pb::ListSealingKeysResponse>, Status> {
        self.list(request).await.map(Response::new).map_err(|error| error.status())
    }
}
