//! Who may call what: one table of role × method, and no by default.
//!
//! Takes the [`PeerIdentity`] that the acceptor put into the request's extensions; refuses what the table does not declare
//! with PERMISSION_DENIED, what came without an identity with UNAUTHENTICATED. The order of roles and packages is no
//! accident: an operator's certificate can make no payment, a gateway's can change no route. What is refused here is counted
//! and said in the log by [`count`](super::count), which stands around it.

use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use http::{Request, Response};
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    peer::{PeerIdentity, Role},
    refusal::refused,
};

/// Every method that anybody may call, and who.
pub const TABLE: &[(&str, Role)] = &[
    ("/payswitch.gateway.v1.AuthorizationService/Authorize", Role::Gateway),
    ("/payswitch.gateway.v1.AuthorizationService/AuthorizeStream", Role::Gateway),
    ("/payswitch.gateway.v1.AuthorizationService/IncrementAuthorization", Role::Gateway),
    ("/payswitch.gateway.v1.AuthorizationService/Capture", Role::Gateway),
    ("/payswitch.gateway.v1.AuthorizationService/Void", Role::Gateway),
    ("/payswitch.gateway.v1.AuthorizationService/Refund", Role::Gateway),
    ("/payswitch.gateway.v1.AuthorizationService/VerifyCard", Role::Gateway),
    ("/payswitch.gateway.v1.AuthorizationService/GetTransaction", Role::Gateway),
    ("/payswitch.gateway.v1.AuthorizationService/ListTransactions", Role::Gateway),
    ("/payswitch.gateway.v1.AuthorizationService/WatchTransactions", Role::Gateway),
    ("/payswitch.gateway.v1.KeyService/ListSealingKeys", Role::Gateway),
    ("/payswitch.peer.v1.ForwardService/Forward", Role::Peer),
    ("/payswitch.peer.v1.ForwardService/Inquire", Role::Peer),
    ("/payswitch.peer.v1.ForwardService/Evidence", Role::Peer),
    ("/payswitch.peer.v1.ForwardService/Holds", Role::Peer),
    ("/payswitch.peer.v1.RaftService/Vote", Role::Peer),
    ("/payswitch.peer.v1.RaftService/PreVote", Role::Peer),
    ("/payswitch.peer.v1.RaftService/StreamAppend", Role::Peer),
    ("/payswitch.peer.v1.RaftService/InstallSnapshot", Role::Peer),
    ("/payswitch.peer.v1.RaftService/TransferLeader", Role::Peer),
    ("/payswitch.peer.v1.RaftService/Probe", Role::Peer),
    ("/payswitch.peer.v1.RaftService/Join", Role::Peer),
    ("/payswitch.peer.v1.RaftService/ReadIndex", Role::Peer),
    ("/payswitch.peer.v1.RaftService/SnapshotTurn", Role::Peer),
    ("/payswitch.operator.v1.ClusterService/GetStatus", Role::Operator),
    ("/payswitch.operator.v1.ClusterService/Bootstrap", Role::Operator),
    ("/payswitch.operator.v1.ClusterService/AddMember", Role::Operator),
    ("/payswitch.operator.v1.ClusterService/PromoteMember", Role::Operator),
    ("/payswitch.operator.v1.ClusterService/RemoveMember", Role::Operator),
    ("/payswitch.operator.v1.ClusterService/TransferLeader", Role::Operator),
    ("/payswitch.operator.v1.ClusterService/DrainNode", Role::Operator),
    ("/payswitch.operator.v1.ClusterService/TriggerSnapshot", Role::Operator),
    ("/payswitch.operator.v1.ClusterService/SaveSnapshot", Role::Operator),
    ("/payswitch.operator.v1.ClusterService/GetClock", Role::Operator),
    ("/payswitch.operator.v1.ClusterService/AcceptClock", Role::Operator),
    ("/payswitch.operator.v1.DirectoryService/GetDirectory", Role::Operator),
    ("/payswitch.operator.v1.DirectoryService/ApplyDirectory", Role::Operator),
    ("/payswitch.operator.v1.DirectoryService/ExplainRoute", Role::Operator),
    ("/payswitch.operator.v1.KeyService/ListKeys", Role::Operator),
    ("/payswitch.operator.v1.KeyService/RotateKey", Role::Operator),
    ("/payswitch.operator.v1.ReversalService/ListReversals", Role::Operator),
    ("/payswitch.operator.v1.ReversalService/ResendReversal", Role::Operator),
    ("/payswitch.operator.v1.ReversalService/ResolveReversal", Role::Operator),
    ("/payswitch.operator.v1.ReversalService/ConfirmResolution", Role::Operator),
    ("/payswitch.operator.v1.ReversalService/WithdrawResolution", Role::Operator),
    ("/payswitch.operator.v1.RecordService/ExportTransactions", Role::Operator),
    ("/payswitch.operator.v1.TransactionService/GetTransaction", Role::Operator),
    ("/payswitch.operator.v1.TransactionService/ListTransactions", Role::Operator),
    ("/payswitch.operator.v1.TransactionService/ListTransactionEvents", Role::Operator),
    ("/payswitch.operator.v1.AuditService/ListAuditRecords", Role::Operator),
];

/// Name of whatever is no method of ours, where methods are counted.
pub const OTHER: &str = "other";

/// Whether the table lets `role` call the method at `path`.
pub fn may(role: Role, path: &str) -> bool {
    TABLE.iter().any(|(method, owner)| *owner == role && *method == path)
}

/// The method at `path` as the table names it, whoever may call it; [`OTHER`] where it names none.
pub fn method(path: &str) -> &'static str {
    TABLE.iter().map(|(method, _)| *method).find(|method| *method == path).unwrap_or(OTHER)
}

/// The decision for one request.
fn admit<B>(request: &Request<B>) -> Result<(), Status> {
    let path = request.uri().path();
    let Some(peer) = request.extensions().get::<PeerIdentity>() else {
        return Err(refused(Code::Unauthenticated, "NO_IDENTITY", "the connection has no identity").status());
    };
    if may(peer.role(), path) {
        return Ok(());
    }
    let message = format!("{} may not call this method", peer.role());
    Err(refused(Code::PermissionDenied, "METHOD_NOT_ALLOWED", message).with("role", peer.role()).status())
}

/// Puts [`Access`] around a service.
#[derive(Debug, Clone, Copy, Default)]
pub struct AccessLayer;

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Access { inner }
    }
}

/// Lets through what the table declares.
#[derive(Debug, Clone)]
pub struct Access<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Access<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<S::Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match admit(&request) {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(status) => Either::Left(ready(Ok(status.into_http()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, convert::Infallible};

    use futures::FutureExt as _;
    use prost::Message as _;
    use tonic_types::StatusExt as _;

    use super::*;

    /// Every method of every contract: its path, and the package that says who speaks it.
    fn methods() -> Vec<(String, String)> {
        let files = prost_types::FileDescriptorSet::decode(switch_proto::DESCRIPTORS).expect("our own descriptors");
        let mut methods = Vec::new();
        for file in &files.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    methods.push((path, file.package().to_owned()));
                }
            }
        }
        methods
    }

    fn owner(package: &str) -> Option<Role> {
        match package {
            "payswitch.gateway.v1" => Some(Role::Gateway),
            "payswitch.peer.v1" => Some(Role::Peer),
            "payswitch.operator.v1" => Some(Role::Operator),
            // The switch calls card networks; nobody calls this at our doors.
            "payswitch.network.v1" => None,
            other => panic!("package {other} has no role yet"),
        }
    }

    /// The answer's code; what passes is answered by a service that says Ok.
    fn call(role: Option<Role>, path: &str) -> (Code, Option<String>) {
        let mut access = AccessLayer.layer(tower::service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(Status::ok("passed").into_http::<()>())
        }));
        let mut request = Request::builder().uri(path).body(()).expect("a path");
        if let Some(role) = role {
            let principal = match role {
                Role::Gateway => "spiffe://switch.test/gateway/acme",
                Role::Peer => "spiffe://switch.test/cluster/blue/node",
                Role::Operator => "spiffe://switch.test/operator/ada",
            };
            request.extensions_mut().insert(PeerIdentity::invented(principal, role));
        }
        let response = access.call(request).now_or_never().expect("never waits").expect("infallible");
        let status = Status::from_header_map(response.headers()).expect("a status");
        let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
        (status.code(), reason)
    }

    #[test]
    fn every_method_is_for_the_role_of_its_package_and_for_nobody_else() {
        let methods = methods();
        assert!(methods.len() > 20, "{methods:?}");
        for (path, package) in &methods {
            for role in Role::ALL {
                let expected = if owner(package) == Some(role) {
                    (Code::Ok, None)
                } else {
                    (Code::PermissionDenied, Some("METHOD_NOT_ALLOWED".to_owned()))
                };
                assert_eq!(call(Some(role), path), expected, "{role} calls {path}");
            }
            assert_eq!(call(None, path), (Code::Unauthenticated, Some("NO_IDENTITY".to_owned())), "{path}");
        }
    }

    #[test]
    fn the_table_declares_nothing_that_does_not_exist() {
        let exist: BTreeSet<String> = methods().into_iter().map(|(path, _)| path).collect();
        for (path, role) in TABLE {
            assert!(exist.contains(*path), "{path} for {role}");
        }
    }

    #[test]
    fn a_path_that_is_almost_a_method_is_refused() {
        for path in [
            "/",
            "/payswitch.gateway.v1.AuthorizationService",
            "/payswitch.gateway.v1.AuthorizationService/",
            "/payswitch.gateway.v1.AuthorizationService/authorize",
            "/payswitch.gateway.v1.AuthorizationService/Authorize/",
            "//payswitch.gateway.v1.AuthorizationService/Authorize",
            "/payswitch.gateway.v1.AuthorizationService/Authorize%20",
        ] {
            assert_eq!(call(Some(Role::Gateway), path).0, Code::PermissionDenied, "{path}");
        }
    }
}
