//! Calls to whichever node can answer: the next endpoint where one is away, the leader where only it may do it, and all of
//! it within the command's time.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io,
    sync::Arc,
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::TlsConnector;
use tonic::{
    Code, Request, Response, Status,
    codegen::{BoxFuture, http::Uri},
    transport::{Channel, Endpoint},
};

use crate::{
    cli::Global,
    exit::Exit,
    failure::{Failure, reason, tls_refusal},
    tls,
};

/// Opens a connection to an address.
type Dial = Arc<dyn Fn(String) -> BoxFuture<Channel, Failure> + Send + Sync>;

/// The connection of one command.
pub(crate) struct Session {
    endpoints: Vec<String>,
    dial: Dial,
    until: Instant,
    /// Key of this command's changes: repeating it by hand changes nothing more.
    request_id: String,
}

/// Whether a call changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// May be asked of any node, any number of times.
    Read,
    /// Is never sent twice once a node may have read it.
    Change,
}

impl Session {
    /// From the command line.
    pub(crate) fn new(global: &Global) -> Result<Self, Failure> {
        let Global { endpoint, certificate, key, roots, server_name, timeout, .. } = global;
        let (Some(certificate), Some(key), Some(roots)) = (certificate, key, roots) else {
            return Err(Failure::usage("--certificate, --key and --roots are needed"));
        };
        if endpoint.is_empty() {
            return Err(Failure::usage("at least one --endpoint is needed"));
        }
        let config = tls::client(certificate, key, roots);
        let config = config.map_err(|error| Failure::local(Exit::Connect, "TLS_FILES", format!("{error:#}")))?;
        let server_name = server_name.clone();
        let dial: Dial = Arc::new(move |address| Box::pin(connect(address, config.clone(), server_name.clone())));
        Ok(Self::over(endpoint.clone(), dial, *timeout))
    }

    fn over(endpoints: Vec<String>, dial: Dial, timeout: Duration) -> Self {
        Self { endpoints, dial, until: Instant::now() + timeout, request_id: random_id() }
    }

    /// Key of this command's changes.
    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Asks.
    pub(crate) async fn read<M: Clone, R>(
        &self,
        message: M,
        ask: impl AsyncFn(Channel, Request<M>) -> Result<Response<R>, Status>,
    ) -> Result<R, Failure> {
        self.call(Sort::Read, message, ask).await
    }

    /// Changes.
    pub(crate) async fn change<M: Clone, R>(
        &self,
        message: M,
        ask: impl AsyncFn(Channel, Request<M>) -> Result<Response<R>, Status>,
    ) -> Result<R, Failure> {
        self.call(Sort::Change, message, ask).await
    }

    async fn call<M: Clone, R>(
        &self,
        sort: Sort,
        message: M,
        ask: impl AsyncFn(Channel, Request<M>) -> Result<Response<R>, Status>,
    ) -> Result<R, Failure> {
        let mut ahead: VecDeque<String> = self.endpoints.iter().cloned().collect();
        let mut followed = 0;
        let mut last = Failure::usage("at least one --endpoint is needed");
        while let Some(address) = ahead.pop_front() {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let channel = match tokio::time::timeout(left.min(CONNECT_WITHIN), (self.dial)(address.clone())).await {
                Ok(Ok(channel)) => channel,
                Ok(Err(failure)) => {
                    last = failure;
                    continue;
                }
                Err(_) => {
                    last = Failure::local(Exit::Connect, "NOT_REACHED", format!("{address} does not answer"));
                    continue;
                }
            };
            let status = match tokio::time::timeout_at(self.until, ask(channel, self.request(message.clone()))).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded(format!("{address} did not answer in time")),
            };
            match next(sort, &status) {
                Next::Follow(leader) if followed < FOLLOWED_MAX => {
                    followed += 1;
                    last = Failure::told(&status);
                    ahead.push_front(leader);
                }
                Next::Wait if Instant::now() + ELECTION < self.until => {
                    tokio::time::sleep(ELECTION).await;
                    last = Failure::told(&status);
                    // Whoever is asked next, all of them are asked until one leads.
                    ahead.push_back(address);
                }
                Next::Elsewhere => {
                    last = lost(&address, Exit::Connect, &status);
                }
                Next::Follow(_) | Next::Wait | Next::Told => return Err(Failure::told(&status)),
                Next::Lost => return Err(lost(&address, Exit::Timeout, &status)),
            }
        }
        Err(last)
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(self.until.saturating_duration_since(Instant::now()));
        if let Ok(id) = self.request_id.parse() {
            request.metadata_mut().insert("x-request-id", id);
        }
        request
    }
}

fn lost(address: &str, exit: Exit, status: &Status) -> Failure {
    let words = match (tls_refusal(status), exit) {
        (Some(alert), _) => format!("{address}: {alert}"),
        (None, Exit::Connect) => format!("{address}: {}", status.message()),
        (None, _) => format!("{address}: the answer was lost, the change may have been made: {}", status.message()),
    };
    Failure::local(exit, if exit == Exit::Connect { "NOT_REACHED" } else { "OUTCOME_UNKNOWN" }, words)
}

/// What to do after a status.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Ask the leader.
    Follow(String),
    /// Nobody leads yet.
    Wait,
    /// This node is away.
    Elsewhere,
    /// The answer was lost on its way.
    Lost,
    /// That is the answer.
    Told,
}

fn next(sort: Sort, status: &Status) -> Next {
    match reason(status) {
        Some((reason, values)) if reason == "NOT_LEADER" => match values.get("leader_address") {
            Some(address) if !address.is_empty() => Next::Follow(address.clone()),
            _ => Next::Wait,
        },
        Some((reason, _)) if reason == "NO_LEADER" => Next::Wait,
        Some(_) => Next::Told,
        // Nothing that a node said: the connection, a proxy, our own clock.
        None if tls_refusal(status).is_some() => Next::Elsewhere,
        None => match (status.code(), sort) {
            (Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal, Sort::Read) => Next::Elsewhere,
            (Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal, Sort::Change) => Next::Lost,
            _ => Next::Told,
        },
    }
}

async fn connect(address: String, tls: Arc<ClientConfig>, server_name: Option<String>) -> Result<Channel, Failure> {
    let wrong = |words: String| Failure::local(Exit::Usage, "ENDPOINT", format!("{address} is no host:port: {words}"));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| wrong(error.to_string()))?;
    let origin: Uri = format!("https://{address}").parse().map_err(|_| wrong("not an authority".to_owned()))?;
    let host = endpoint.uri().host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = endpoint.uri().port_u16().ok_or_else(|| wrong("no port".to_owned()))?;
    let name = server_name.unwrap_or_else(|| host.clone());
    let name = ServerName::try_from(name).map_err(|error| wrong(error.to_string()))?;
    let connector = tower::service_fn(move |_: Uri| {
        let (host, name, tls) = (host.clone(), name.clone(), TlsConnector::from(tls.clone()));
        async move {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(TokioIo::new(tls.connect(name, stream).await?))
        }
    });
    let channel = endpoint.origin(origin).connect_with_connector(connector).await;
    channel.map_err(|error| {
        let mut words = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            words = inner.to_string();
            source = inner.source();
        }
        Failure::local(Exit::Connect, "NOT_REACHED", format!("{address}: {words}"))
    })
}

/// 128 bits from the seeds that the standard library draws for hash maps: unique, not secret.
fn random_id() -> String {
    let number = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", number(), number())
}

/// TCP and TLS to one node; a node that is away must not eat the time of the others.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks for a leader.
const ELECTION: Duration = Duration::from_millis(200);
/// A leader that is followed may have lost to another one; more than that is a circle.
const FOLLOWED_MAX: usize = 4;

#[cfg(test)]
mod tests;
