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
use switch_proto::operator::v1::{GetStatusRequest, GetStatusResponse, cluster_service_client::ClusterServiceClient};
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
    talk::Talk,
    tls,
};

/// Opens a connection to an address.
type Dial = Arc<dyn Fn(String) -> BoxFuture<Channel, Failure> + Send + Sync>;

/// The connection of one command.
#[derive(Clone)]
pub(crate) struct Session {
    endpoints: Vec<String>,
    dial: Dial,
    until: Instant,
    talk: Talk,
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
        let Global { endpoint, certificate, key, roots, server_name, timeout, request_id, .. } = global;
        let (Some(certificate), Some(key), Some(roots)) = (certificate, key, roots) else {
            return Err(Failure::usage("--certificate, --key and --roots are needed, or a context that names them"));
        };
        if endpoint.is_empty() {
            return Err(Failure::usage("at least one --endpoint is needed, or a context that names one"));
        }
        let config = tls::client(certificate, key, roots);
        let config = config.map_err(|error| Failure::local(Exit::Connect, "TLS_FILES", format!("{error:#}")))?;
        let server_name = server_name.clone();
        let dial: Dial = Arc::new(move |address| Box::pin(connect(address, config.clone(), server_name.clone())));
        let mut session = Self { talk: global.talk(), ..Self::over(endpoint.clone(), dial, *timeout) };
        if let Some(request_id) = request_id {
            session.request_id.clone_from(request_id);
        }
        Ok(session)
    }

    /// The same, asking this node and no other first.
    pub(crate) fn at(&self, address: &str) -> Self {
        Self { endpoints: vec![address.to_owned()], ..self.clone() }
    }

    /// The same, asking the first endpoint and no other.
    pub(crate) fn at_the_first(&self) -> Self {
        self.at(self.endpoints.first().map_or("", String::as_str))
    }

    /// The same under another key.
    pub(crate) fn under(self, request_id: String) -> Self {
        Self { request_id, ..self }
    }

    /// The same with less time, for one of several rounds.
    pub(crate) fn for_a_round(&self) -> Self {
        Self { until: self.until.min(Instant::now() + CONNECT_WITHIN), ..self.clone() }
    }

    /// Until when the command may take.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// What each node says of the cluster, those of the endpoints first: nodes that they name as members are asked as well.
    pub(crate) async fn statuses(&self) -> Vec<(String, Result<GetStatusResponse, Failure>)> {
        let mut answers: Vec<(String, Result<GetStatusResponse, Failure>)> = Vec::new();
        let mut ahead: Vec<String> = self.endpoints.clone();
        while !ahead.is_empty() {
            let mut asked = Vec::new();
            for address in std::mem::take(&mut ahead) {
                let one = self.at(&address);
                asked.push((address, tokio::spawn(async move { one.status().await })));
            }
            for (address, answer) in asked {
                let lost = |error: tokio::task::JoinError| Failure::local(Exit::Failure, "TASK", error.to_string());
                answers.push((address, answer.await.unwrap_or_else(|error| Err(lost(error)))));
            }
            let told = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
            let reached: Vec<u64> = told.clone().map(|status| status.node_id).collect();
            for member in told.flat_map(|status| &status.members) {
                let address = &member.operator_address;
                let is_known = reached.contains(&member.node_id) || answers.iter().any(|(known, _)| known == address);
                if !address.is_empty() && !is_known && !ahead.contains(address) {
                    ahead.push(address.clone());
                }
            }
        }
        // One node may have been reached under two names.
        let mut seen = Vec::new();
        answers.retain(|(_, answer)| match answer {
            Ok(status) if seen.contains(&status.node_id) => false,
            Ok(status) => {
                seen.push(status.node_id);
                true
            }
            Err(_) => true,
        });
        answers
    }

    /// What the first node that answers knows of the cluster.
    pub(crate) async fn status(&self) -> Result<GetStatusResponse, Failure> {
        let ask = async |channel, request| ClusterServiceClient::new(channel).get_status(request).await;
        self.read(GetStatusRequest {}, ask).await
    }

    fn over(endpoints: Vec<String>, dial: Dial, timeout: Duration) -> Self {
        Self { endpoints, dial, until: Instant::now() + timeout, talk: Talk::Normal, request_id: random_id() }
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
            let asked = Instant::now();
            self.talk.detail(format_args!("asking {address}"));
            let channel = match tokio::time::timeout(left.min(CONNECT_WITHIN), (self.dial)(address.clone())).await {
                Ok(Ok(channel)) => channel,
                Ok(Err(failure)) => {
                    last = self.passed(&ahead, failure);
                    continue;
                }
                Err(_) => {
                    let failure = Failure::local(Exit::Connect, "NOT_REACHED", format!("{address} does not answer"));
                    last = self.passed(&ahead, failure);
                    continue;
                }
            };
            let status = match tokio::time::timeout_at(self.until, ask(channel, self.request(message.clone()))).await {
                Ok(Ok(response)) => {
                    self.talk.detail(format_args!("{address} answered in {} ms", asked.elapsed().as_millis()));
                    return Ok(response.into_inner());
                }
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded(format!("{address} did not answer in time")),
            };
            match next(sort, &status) {
                Next::Follow(leader) if followed < FOLLOWED_MAX => {
                    self.talk.detail(format_args!("{address} says that {leader} leads"));
                    followed += 1;
                    last = Failure::told(&status);
                    ahead.push_front(leader);
                }
                Next::Wait if Instant::now() + ELECTION < self.until => {
                    self.talk.detail(format_args!("{address} says that nobody leads yet"));
                    tokio::time::sleep(ELECTION).await;
                    last = Failure::told(&status);
                    // Whoever is asked next, all of them are asked until one leads.
                    ahead.push_back(address);
                }
                Next::Elsewhere => {
                    last = self.passed(&ahead, lost(&address, Exit::Connect, &status));
                }
                Next::Follow(_) | Next::Wait | Next::Told => return Err(Failure::told(&status)),
                Next::Lost => return Err(lost(&address, Exit::Timeout, &status)),
            }
        }
        Err(last)
    }

    /// A node was not reached: said where another one is asked instead.
    fn passed(&self, ahead: &VecDeque<String>, failure: Failure) -> Failure {
        if let Some(next) = ahead.front() {
            self.talk.say(format_args!("{failure}; asking {next}"));
        }
        failure
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

/// 128 bits from the seeds that the standard library draws for hash maps: unique, not secret. Drawn again where a row of digits
/// is as long as a card number's: the switch keeps no such key.
fn random_id() -> String {
    let number = || RandomState::new().build_hasher().finish();
    loop {
        let id = format!("{:016x}{:016x}", number(), number());
        if id.split(|letter: char| !letter.is_ascii_digit()).all(|row| row.len() <= DIGITS_MAX) {
            return id;
        }
    }
}

/// TCP and TLS to one node; a node that is away must not eat the time of the others.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// The longest row of digits that the switch takes in a key.
const DIGITS_MAX: usize = 11;
/// Between two looks for a leader.
const ELECTION: Duration = Duration::from_millis(200);
/// A leader that is followed may have lost to another one; more than that is a circle.
const FOLLOWED_MAX: usize = 4;

#[cfg(test)]
mod tests;
