//! Attempts at backends until one answers: the same for clients of every version.

use std::{pin::Pin, time::Duration};

use http::Method;
use portcullis_routing::Rejection;
use tokio::time::{Sleep, sleep_until};

use super::{
    backend::{self, ConnectError, Connection, TlsId},
    buffer::Out,
    pool::{self, Identity},
};
use crate::{
    accept::Worker,
    http::{
        attempt::{self, No},
        context::Context,
        mirror,
        retry::{self, Fate, Sent},
    },
};

/// The client's side of an exchange.
pub(super) trait Client {
    /// Whether all of the request that was sent can be sent again.
    fn is_repeatable(&self) -> bool;

    /// Whether no body is left to be sent.
    fn is_bodiless(&self) -> bool;

    /// Makes one attempt on a connection: sends the request, whose head this is, and passes the answer on.
    fn attempt(
        &mut self,
        context: &mut Context,
        connection: &mut Connection,
        head: &mut Out,
        deadline: Option<Pin<Box<Sleep>>>,
    ) -> impl Future<Output = Attempted> + Send;
}

/// What came of one attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempted {
    pub(super) end: Result<Done, Broken>,
    /// Whether the head of a final answer has come.
    pub(super) answered: bool,
    /// Bytes of the body that the client was sent.
    pub(super) content: usize,
}

/// An attempt that has come to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    /// How long the backend's connection may wait for another request; `None` where it carries none.
    pub(super) reuse: Option<Option<Duration>>,
    /// Whether the client's connection may carry another request.
    pub(super) keep_alive: bool,
}

/// An attempt that has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The client is gone.
    ClientGone,
    /// The client sends what is no body.
    ClientMalformed,
    /// Nothing moved for too long; whether it is the client that was waited for.
    Stalled { client: bool },
    /// The time of the attempt, or of the request, is over.
    Late,
    /// The backend's connection broke.
    Backend(Fate),
    /// The backend's answer cannot be passed on.
    Invalid(&'static str),
    /// The answer is dropped for another attempt.
    Retry,
}

/// How far the request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// It is being sent.
    On,
    /// All of it has been sent.
    Done,
    /// The backend takes no more of it.
    Broken,
}

/// How an exchange ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// The client has its answer, of so many bytes; whether its connection may carry another request.
    Answered { keep_alive: bool, content: usize },
    /// It has a part of it, or is gone.
    Cut(Broken, usize),
    /// It is to be told why there is none.
    No(No),
}

const UNREACHABLE: &str = "the backend could not be reached, or broke off";
const TOO_SLOW: &str = "the backend took too long";

/// Carries a request to a backend, in as many attempts as it takes. `head` is what the backend gets.
pub(super) async fn carry(
    worker: &Worker,
    context: &mut Context,
    mut head: Out,
    method: &Method,
    client: &mut impl Client,
) -> End {
    if worker.shared.is_full(&context.conn.load) {
        return End::No((Rejection::Overloaded, "too many requests at a time"));
    }
    let idempotent = retry::is_idempotent(method);
    loop {
        let Attempt { mut connection, identity, reused, deadline } =
            match Attempt::begin(worker, context, idempotent).await {
                Ok(attempt) => attempt,
                Err(NoAttempt::Connect(_)) if retry::on_no_connection(client.is_repeatable(), context) => {
                    continue;
                }
                Err(NoAttempt::Connect(no) | NoAttempt::Final(no)) => return End::No(no),
            };
        begin_mirrors(worker, context, &head, client.is_bodiless());
        let Attempted { end, answered, content } =
            client.attempt(context, &mut connection, &mut head, deadline).await;
        let broken = match end {
            Ok(Done { reuse, keep_alive }) => {
                if let (Some(limit), Some(endpoint)) = (reuse, &context.attempts.endpoint) {
                    pool::give_back(identity, endpoint.endpoint(), connection, limit);
                }
                return End::Answered { keep_alive, content };
            }
            Err(broken) => broken,
        };
        drop(connection);
        if answered || broken == Broken::ClientGone {
            return End::Cut(broken, content);
        }
        let sent = Sent { repeatable: client.is_repeatable(), idempotent, reused };
        let again =
            broken == Broken::Retry || broken.fate().is_some_and(|fate| retry::on_fate(fate, sent, context));
        if !again {
            return End::No(broken.rejection().unwrap_or((Rejection::BadGateway, UNREACHABLE)));
        }
        head.rewind();
    }
}

/// An attempt that has a connection.
struct Attempt {
    connection: Connection,
    identity: Identity,
    /// Whether another request has used it.
    reused: bool,
    deadline: Option<Pin<Box<Sleep>>>,
}

enum NoAttempt {
    /// There is no connection to the endpoint.
    Connect(No),
    /// No other attempt would be better.
    Final(No),
}

impl Attempt {
    async fn begin(worker: &Worker, context: &mut Context, idempotent: bool) -> Result<Self, NoAttempt> {
        let next = attempt::next(&worker.outward.dialler, context).await.map_err(NoAttempt::Final)?;
        let left = attempt::start_time(context).map_err(NoAttempt::Final)?;
        let deadline = left.and(context.attempt_deadline()).map(|at| Box::pin(sleep_until(at)));
        let Some(backend) = context.backend() else {
            return Err(NoAttempt::Final((Rejection::BrokenBackend, "the rule has no backend")));
        };
        let tls = backend.tls.as_ref();
        let identity = Identity { address: next.address.address(), tls: TlsId::of(tls) };
        if !next.fresh
            && let Some(connection) = pool::take(&identity, !idempotent)
        {
            return Ok(Self { connection, identity, reused: true, deadline });
        }
        let limit = worker.shared.options.connect_timeout;
        let limit = left.map_or(limit, |left| left.min(limit));
        // Boxed, so that the requests that find a pooled connection do not pay for its size.
        let connected =
            Box::pin(backend::connect(next.address, tls, &worker.shared.backend_tls, limit)).await;
        match connected {
            Ok(connection) => Ok(Self { connection, identity, reused: false, deadline }),
            Err(error) => {
                tracing::debug!(backend = %backend.key, address = %identity.address, %error, "no connection");
                Err(NoAttempt::Connect(match error {
                    ConnectError::TimedOut => (Rejection::Timeout, TOO_SLOW),
                    ConnectError::Io(_) | ConnectError::ServerName => (Rejection::BadGateway, UNREACHABLE),
                }))
            }
        }
    }
}

/// Begins the copies that the route asks for; another attempt begins none anew.
fn begin_mirrors(worker: &Worker, context: &mut Context, head: &Out, bodiless: bool) {
    if std::mem::replace(&mut context.mirrored, true) {
        return;
    }
    let Some(route) = context.with_mirrors() else { return };
    let Some(request) = mirror::request_of(&head.bytes) else { return };
    let kind = route.rule().route.kind;
    context.mirrors = worker.outward.mirrors.begin(route.mirrors(), kind, &request, bodiless);
}

impl Broken {
    /// What the client is told, where it can be told anything.
    pub(super) fn rejection(self) -> Option<No> {
        match self {
            Self::ClientGone => None,
            Self::ClientMalformed => Some((Rejection::BadRequest, "malformed body")),
            Self::Stalled { client: true } => Some((Rejection::HeaderTimeout, "the request took too long")),
            Self::Stalled { client: false } => Some((Rejection::Timeout, "nothing moved for too long")),
            Self::Late => Some((Rejection::Timeout, TOO_SLOW)),
            Self::Backend(_) | Self::Retry => Some((Rejection::BadGateway, UNREACHABLE)),
            Self::Invalid(why) => Some((Rejection::BadGateway, why)),
        }
    }

    /// What is known of the request.
    fn fate(self) -> Option<Fate> {
        match self {
            Self::Backend(fate) => Some(fate),
            Self::Late | Self::Stalled { client: false } => Some(Fate::Unknown),
            Self::ClientGone
            | Self::ClientMalformed
            | Self::Stalled { client: true }
            | Self::Invalid(_)
            | Self::Retry => None,
        }
    }
}

/// Notes in the context that an exchange was cut.
pub(super) fn note_cut(context: &mut Context, broken: Broken, content: usize) {
    match broken {
        // As nginx logs a client that left.
        Broken::ClientGone if context.status == 0 => context.status = 499,
        Broken::ClientGone => {}
        broken => context.rejection = broken.rejection(),
    }
    context.finish(content, true);
}
