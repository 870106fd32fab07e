//! The directory.

use switch_domain::{directory::DirectoryCommand, id::RequestId};
use switch_proto::operator::v1::{self as pb, directory_service_server::DirectoryService};
use tonic::{Code, Request, Response, Status};

use super::{Operators, author, refusals, until, within};
use crate::{door::refusal::refused, ops::convert};

#[tonic::async_trait]
impl DirectoryService for Operators {
    async fn get_directory(
        &self,
        request: Request<pb::GetDirectoryRequest>,
    ) -> Result<Response<pb::GetDirectoryResponse>, Status> {
        let until = until(&request)?;
        within(until, self.current(until)).await?;
        let directory = convert::directory(&self.shared.journal.standing().directory);
        Ok(Response::new(pb::GetDirectoryResponse { directory: Some(directory) }))
    }

    async fn apply_directory(
        &self,
        request: Request<pb::ApplyDirectoryRequest>,
    ) -> Result<Response<pb::ApplyDirectoryResponse>, Status> {
        self.reign()?;
        let (author, until) = (author(&request)?, until(&request)?);
        let pb::ApplyDirectoryRequest { request_id, expected_version, changes } = request.into_inner();
        let request_id = RequestId::parse(&request_id).map_err(|fault| {
            refused(Code::InvalidArgument, "FIELD_MALFORMED", format!("request_id: {fault}"))
                .with("field", "request_id")
                .field("request_id", fault.to_string())
        })?;
        let changes = convert::changes(changes)?;
        tracing::info!(target: "audit", %author, %request_id, changes = changes.len(), "an operator changes the directory");
        let command = DirectoryCommand { request_id, author, expected_version, changes };
        let proposed = async {
            let applied = self.shared.journal.propose_directory(command).await;
            applied.map_err(|lost| refusals::of_lost(lost).unwrap_or_else(|| self.not_leader()))
        };
        let version = within(until, proposed).await?.map_err(refusals::of_directory)?;
        Ok(Response::new(pb::ApplyDirectoryResponse { version }))
    }
}
