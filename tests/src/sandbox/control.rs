//! The control service: changes how networks behave, and reads their books.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use futures::{StreamExt, stream};
use tonic::{Request, Response, Status};

use super::{
    books::Cursor,
    conduct, dump,
    network::Network,
    proto::{
        DumpBooksRequest, DumpBooksResponse, GetBooksRequest, GetBooksResponse, GetStatusRequest, GetStatusResponse,
        Mode, ResetBooksRequest, ResetBooksResponse, SetModeRequest, SetModeResponse,
        sandbox_control_service_server::SandboxControlService,
    },
};

/// `payswitch.sandbox.v1.SandboxControlService`.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) networks: Vec<(Arc<Network>, SocketAddr)>,
    pub(super) dump_to: Option<PathBuf>,
}

impl Control {
    /// One network by name, or all by none.
    fn named(&self, name: &str) -> Result<Vec<Arc<Network>>, Status> {
        let all = self.networks.iter().map(|(network, _)| network);
        let named: Vec<_> = all.filter(|network| name.is_empty() || network.name == name).cloned().collect();
        if named.is_empty() { Err(Status::not_found(format!("network {name:?}"))) } else { Ok(named) }
    }
}

#[tonic::async_trait]
impl SandboxControlService for Control {
    type GetBooksStream = stream::BoxStream<'static, Result<GetBooksResponse, Status>>;

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        let networks = self.networks.iter().map(|(network, address)| network.status(address.to_string())).collect();
        Ok(Response::new(GetStatusResponse { networks }))
    }

    async fn set_mode(&self, request: Request<SetModeRequest>) -> Result<Response<SetModeResponse>, Status> {
        let asked = request.into_inner();
        let mode = Mode::try_from(asked.mode)
            .map_err(|_| Status::invalid_argument(format!("mode {} does not exist", asked.mode)))?;
        if let Some(conduct) = &asked.conduct {
            conduct::check(conduct).map_err(|error| Status::invalid_argument(error.to_string()))?;
        }
        for network in self.named(&asked.network)? {
            network.standing.send_modify(|standing| {
                if mode != Mode::Unspecified {
                    standing.mode = mode;
                }
                if let Some(conduct) = asked.conduct {
                    standing.conduct = conduct;
                }
            });
        }
        Ok(Response::new(SetModeResponse {}))
    }

    async fn get_books(&self, request: Request<GetBooksRequest>) -> Result<Response<Self::GetBooksStream>, Status> {
        let GetBooksRequest { network, summary } = request.into_inner();
        let networks = self.named(&network)?;
        let pages = stream::iter(networks).flat_map(move |network| {
            stream::unfold(Some(Cursor::new(summary)), move |cursor| {
                let page = cursor.map(|cursor| network.page(cursor));
                async move { page }
            })
        });
        // A summary leaves most pages empty.
        let pages = pages.filter(|records| std::future::ready(!records.is_empty()));
        Ok(Response::new(pages.map(|records| Ok(GetBooksResponse { records })).boxed()))
    }

    async fn dump_books(&self, _: Request<DumpBooksRequest>) -> Result<Response<DumpBooksResponse>, Status> {
        let path =
            self.dump_to.clone().ok_or_else(|| Status::failed_precondition("started without a file for books"))?;
        let networks: Vec<_> = self.networks.iter().map(|(network, _)| network.clone()).collect();
        let answer = DumpBooksResponse { path: path.display().to_string(), lines: 0 };
        let lines = tokio::task::spawn_blocking(move || dump::write(&networks, &path))
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(DumpBooksResponse { lines, ..answer }))
    }

    async fn reset_books(&self, request: Request<ResetBooksRequest>) -> Result<Response<ResetBooksResponse>, Status> {
        for network in self.named(&request.get_ref().network)? {
            network.reset();
        }
        Ok(Response::new(ResetBooksResponse {}))
    }
}
