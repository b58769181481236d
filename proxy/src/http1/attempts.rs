//! Attempts at backends until one answers; the same for HTTP/1 and HTTP/2 clients.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

use portcullis_routing::{Rejection, decide::TOO_LARGE};
use tokio::time::{Sleep, sleep_until};

use super::{
    backend::{self, ConnectError, Connection, TlsId},
    buffer::Out,
    pool::{self, Identity, Lent, Takes},
};
use crate::{
    accept::Worker,
    body::NO_ROOM,
    http::{
        attempt::{self, Failure},
        context::Context,
        mirror::Forms,
        pages,
        retry::{self, Fate, Sent},
        side,
    },
};

/// The client's side of an exchange.
pub(super) trait Client {
    /// Whether all that was sent of the body can be sent again.
    fn is_repeatable(&self) -> bool;

    /// Whether no body is left to be sent.
    fn is_bodiless(&self) -> bool;

    /// Ready when the client has closed its side or reset the stream, as far as this can be seen without reading from
    /// it.
    fn poll_gone(&mut self, cx: &mut task::Context<'_>) -> Poll<()>;

    /// Writes the head anew, for the backend of the context's route. Returns whether that was possible.
    fn write_head(&self, context: &Context, head: &mut Out) -> bool;

    /// Makes one attempt on a connection: sends `head` and the body, and passes the answer on.
    fn attempt(
        &mut self,
        context: &mut Context,
        connection: &mut Connection,
        head: &mut Out,
        deadline: Option<Pin<Box<Sleep>>>,
    ) -> impl Future<Output = Attempted> + Send;
}

/// The outcome of one attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempted {
    pub(super) end: Result<Done, Broken>,
    /// Whether the head of a final answer has come.
    pub(super) answered: bool,
    /// Bytes of the body that the client was sent.
    pub(super) content: usize,
}

/// An attempt that passed on a complete answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    /// `None` if the backend's connection cannot be used again; else how long the backend keeps it idle, if it says so.
    pub(super) reuse: Option<Option<Duration>>,
    /// Whether the client's connection may carry another request.
    pub(super) keep_alive: bool,
}

/// Why an attempt did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The client is gone.
    ClientGone,
    /// The client's body is malformed.
    ClientMalformed,
    /// The client's body is larger than the route permits.
    TooLarge,
    /// There is no room for the client's body, or what was spooled of it cannot be read.
    NoRoom,
    /// Nothing moved for too long. `client`: it was the client that we waited for.
    Stalled { client: bool },
    /// The timeout of the request has passed before its body was received.
    ClientLate,
    /// The timeout of the attempt or of the request has passed.
    Late,
    /// The backend's connection broke.
    Backend(Fate),
    /// The backend's answer cannot be passed on.
    Invalid(&'static str),
    /// The answer is dropped, since the route's policy retries its status.
    Retry,
    /// The answer is dropped, and the context has the route of the error page in its place.
    Page,
}

/// How far the request has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// A part of it is still to be sent.
    On,
    /// All of it has been sent.
    Done,
    /// The backend does not accept more of it.
    Broken,
}

/// How an exchange ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// The client has its answer. `content`: bytes of its body; `keep_alive`: the connection may carry another request.
    Answered { keep_alive: bool, content: usize },
    /// The client has a part of the answer, or is gone. The number is how many bytes of the body it was sent.
    Cut(Broken, usize),
    /// No backend answered; the client is still to be told why.
    Failed(Failure),
}

const UNREACHABLE: &str = "the backend could not be reached, or aborted the connection";
const REQUEST_TOO_SLOW: &str = "the request took too long";
const TOO_SLOW: &str = "the backend took too long";

/// Carries a request to a backend, in as many attempts as it takes and the route permits. `head` is what the backend gets;
/// `idempotent`, whether the request may be sent again though a backend may have processed it.
pub(super) async fn carry(
    worker: &Worker,
    context: &mut Context,
    mut head: Out,
    idempotent: bool,
    client: &mut impl Client,
) -> End {
    if worker.shared.is_full(&context.conn.load) {
        return End::Failed((Rejection::Overloaded, "too many requests at a time"));
    }
    loop {
        let Attempt { mut connection, identity, reused, deadline } =
            match Attempt::begin(worker, context, idempotent, client).await {
                Ok(attempt) => attempt,
                Err(AttemptError::ClientGone) => return End::Cut(Broken::ClientGone, 0),
                Err(AttemptError::Connect((rejection, _)))
                    if retry::on_no_connection(
                        rejection == Rejection::Timeout,
                        client.is_repeatable(),
                        context,
                    ) =>
                {
                    continue;
                }
                Err(AttemptError::Connect(failure) | AttemptError::Final(failure)) => {
                    let is_replaced = pages::replace_failure(failure, client.is_repeatable(), context);
                    if is_replaced && client.write_head(context, &mut head) {
                        continue;
                    }
                    return End::Failed(failure);
                }
            };
        if let Some(measured) = &mut context.measured {
            measured.connected(reused);
        }
        begin_mirrors(worker, context, &head, client.is_bodiless());
        let Attempted { end, answered, content } =
            client.attempt(context, &mut connection, &mut head, deadline).await;
        let broken = match end {
            Ok(Done { reuse, keep_alive }) => {
                if let Some(limit) = reuse.filter(|_| !context.closes_backend()) {
                    pool::give_back(identity, connection, limit);
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
        if again {
            head.rewind();
            continue;
        }
        let failure = broken.rejection().unwrap_or((Rejection::BadGateway, UNREACHABLE));
        let is_replaced =
            broken == Broken::Page || pages::replace_failure(failure, client.is_repeatable(), context);
        if !is_replaced || !client.write_head(context, &mut head) {
            return End::Failed(failure);
        }
    }
}

/// An attempt with its connection.
struct Attempt {
    connection: Connection,
    identity: Identity,
    /// Whether the connection has carried another request before.
    reused: bool,
    deadline: Option<Pin<Box<Sleep>>>,
}

enum AttemptError {
    /// The endpoint could not be connected to; another may be tried.
    Connect(Failure),
    /// Another attempt would not help.
    Final(Failure),
    /// The client has disconnected or reset the stream.
    ClientGone,
}

impl Attempt {
    /// Begins an attempt, unless the client disconnects or resets the stream while the attempt waits for a connection.
    async fn begin(
        worker: &Worker,
        context: &mut Context,
        idempotent: bool,
        client: &mut impl Client,
    ) -> Result<Self, AttemptError> {
        let mut connected = pin!(Self::connected(worker, context, idempotent));
        poll_fn(|cx| match connected.as_mut().poll(cx) {
            Poll::Pending => client.poll_gone(cx).map(|()| Err(AttemptError::ClientGone)),
            connected => connected,
        })
        .await
    }

    async fn connected(
        worker: &Worker,
        context: &mut Context,
        idempotent: bool,
    ) -> Result<Self, AttemptError> {
        let next = attempt::next(&worker.outward.dialler, context).await.map_err(AttemptError::Final)?;
        let left = attempt::start_time(context).map_err(AttemptError::Final)?;
        let deadline = left.and(context.attempt_deadline()).map(|at| Box::pin(sleep_until(at)));
        let Some(backend) = context.backend() else {
            return Err(AttemptError::Final(attempt::NO_BACKEND));
        };
        let identity = Identity { address: next.address.address(), tls: TlsId::of(backend.tls.as_deref()) };
        let takes = match (next.fresh, idempotent) {
            (true, _) => Takes::New,
            (false, true) => Takes::Any,
            (false, false) => Takes::Open,
        };
        if let Some(connection) = pool::take(&identity, takes) {
            return Ok(Self { connection, identity, reused: true, deadline });
        }
        let limit = context.own_timeouts().connect.unwrap_or(worker.shared.options.connect_timeout);
        let limit = left.map_or(limit, |left| left.min(limit));
        let endpoint = worker.outward.dialler.endpoint(backend, identity.address);
        let (to, shared) = (Arc::clone(backend), Arc::clone(&worker.shared));
        let connect = |limit| backend::connect(next.address, endpoint, to, shared, limit);
        // Boxed, so that requests that find a pooled connection do not pay for the future's size.
        match Box::pin(pool::lend(identity, takes, limit, connect)).await {
            Ok(Lent { connection, reused }) => Ok(Self { connection, identity, reused, deadline }),
            Err(error) => {
                tracing::debug!(backend = %backend.key, address = %identity.address, %error, "no connection");
                Err(AttemptError::Connect(match error {
                    ConnectError::TimedOut => (Rejection::Timeout, TOO_SLOW),
                    ConnectError::Tls(error) => error.rejection(),
                    ConnectError::Io(_) | ConnectError::Others => (Rejection::BadGateway, UNREACHABLE),
                }))
            }
        }
    }
}

/// Begins the mirror copies that the route asks for, at the first attempt only.
fn begin_mirrors(worker: &Worker, context: &mut Context, head: &Out, bodiless: bool) {
    if std::mem::replace(&mut context.mirrored, true) {
        return;
    }
    let Some(route) = context.with_mirrors() else { return };
    let forwarded = route.mirrors().next().and_then(|_| side::request_of(&head.bytes));
    let forms = Forms { forwarded: forwarded.as_ref(), sent: context.sent.as_deref() };
    context.mirrors = worker.outward.mirrors.begin(route, forms, bodiless);
}

impl Broken {
    /// What the client is told; `None` if it is gone.
    pub(super) fn rejection(self) -> Option<Failure> {
        match self {
            Self::ClientGone => None,
            Self::ClientMalformed => Some((Rejection::BadRequest, "malformed body")),
            Self::TooLarge => Some((Rejection::ContentTooLarge, TOO_LARGE)),
            Self::NoRoom => Some((Rejection::Overloaded, NO_ROOM)),
            Self::Stalled { client: true } => Some((Rejection::HeaderTimeout, REQUEST_TOO_SLOW)),
            Self::ClientLate => Some((Rejection::Timeout, REQUEST_TOO_SLOW)),
            Self::Stalled { client: false } => Some((Rejection::Timeout, "no progress for too long")),
            Self::Late => Some((Rejection::Timeout, TOO_SLOW)),
            Self::Backend(_) | Self::Retry | Self::Page => Some((Rejection::BadGateway, UNREACHABLE)),
            Self::Invalid(why) => Some((Rejection::BadGateway, why)),
        }
    }

    /// Whether the backend may have processed the request; `None` if it is not sent again anyway.
    fn fate(self) -> Option<Fate> {
        match self {
            Self::Backend(fate) => Some(fate),
            Self::Late | Self::Stalled { client: false } => Some(Fate::Late),
            Self::Invalid(_) => Some(Fate::Invalid),
            Self::ClientGone
            | Self::ClientMalformed
            | Self::TooLarge
            | Self::NoRoom
            | Self::Stalled { client: true }
            | Self::ClientLate
            | Self::Retry
            | Self::Page => None,
        }
    }
}

/// Records in the context why an exchange was cut.
pub(super) fn note_cut(context: &mut Context, broken: Broken, content: usize) {
    match broken {
        // As nginx logs a client that left.
        Broken::ClientGone if context.status == 0 => context.status = 499,
        Broken::ClientGone => {}
        broken => context.rejection = broken.rejection(),
    }
    context.finish(content, true);
}
