//! HTTP/2 clients. A stream is not affected by what happens to another one: neither by a fault of its backend, nor by what the
//! client does to it. A fault of the connection affects all of them.

use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;
use h2::{
    Reason, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, Request, header};
use proptest::prelude::*;
use tokio::task::JoinSet;

use super::{
    Model,
    backend::Part,
    draw,
    script::{self, Body, Exchange, Fault, Kind, next_piece},
    wire::{Breaking, Over, pause},
};
use crate::support::within;

const CONNECTIONS: usize = 240;

/// One connection of a client.
#[derive(Clone, Debug)]
struct Script {
    streams: Vec<Stream>,
    /// The window of a stream at its beginning.
    window: usize,
    over: Over,
    /// The fault of the connection.
    fault: Option<Fault>,
    /// Whether it strikes the bytes beneath TLS, as well those of the handshake.
    beneath: bool,
}

#[derive(Clone, Debug)]
struct Stream {
    exchange: Exchange,
    /// Whether it begins when all streams before it are over.
    waits: bool,
    /// Sizes of the request's DATA frames, in turn.
    pieces: Vec<usize>,
    ending: Ending,
    /// By how much the window opens again at a time, in turn.
    taken: Vec<usize>,
    fault: Option<StreamFault>,
}

/// What ends the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    LastData,
    EmptyData,
    Trailers,
}

/// What a client does to one of its streams after so many bytes of the request's body, or of the answer's.
#[derive(Clone, Copy, Debug)]
struct StreamFault {
    side: Side,
    act: Act,
    after: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Request,
    Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Reset,
    /// Sends no more of the request, or opens the window no more.
    Stall,
}

/// An answer, or as much of it as came.
#[derive(Debug, Default)]
struct Answer {
    /// The status, and whose answer it is by its `X-Of`.
    head: Option<(u16, Option<String>)>,
    body: Vec<u8>,
    whole: bool,
    /// Why it is not whole.
    error: Option<h2::Error>,
}

impl Answer {
    fn without(error: h2::Error) -> Self {
        Self { error: Some(error), ..Self::default() }
    }
}

fn stream() -> impl Strategy<Value = Stream> {
    let ending = proptest::sample::select(&[Ending::LastData, Ending::EmptyData, Ending::Trailers][..]);
    let (side, act) = (
        proptest::sample::select(&[Side::Request, Side::Answer][..]),
        proptest::sample::select(&[Act::Reset, Act::Stall][..]),
    );
    let fault = (side, act, script::after(5000))
        .prop_map(|(side, act, after)| Some(StreamFault { side, act, after }));
    let fault = prop_oneof![8 => Just(None), 1 => fault];
    (script::exchange(), proptest::bool::weighted(0.3), script::pieces(), ending, script::pieces(), fault)
        .prop_map(|(exchange, waits, pieces, ending, taken, fault)| Stream {
            exchange,
            waits,
            pieces,
            ending,
            taken,
            fault,
        })
}

fn script() -> impl Strategy<Value = Script> {
    let streams = proptest::collection::vec(stream(), 1..7);
    let window = proptest::sample::select(&[40, 1000, 16 << 10, 65_535, 1 << 20][..]);
    let over = prop_oneof![2 => Just(Over::Plain), 1 => Just(Over::Tls12), 1 => Just(Over::Tls13)];
    (streams, window, over, script::fault(2, 10_000), any::<bool>()).prop_map(
        |(streams, window, over, fault, beneath)| {
            let longest = streams.iter().map(|stream| stream.exchange.answer.len()).max().unwrap();
            let (window, beneath) = (window.max(longest / 100), beneath && over != Over::Plain);
            Script { streams, window, over, fault, beneath }
        },
    )
}

impl Stream {
    fn fault_of(&self, side: Side) -> Option<StreamFault> {
        self.fault.filter(|fault| fault.side == side)
    }

    fn request(&self, over: Over, path: &str) -> Request<()> {
        let scheme = if over == Over::Plain { "http" } else { "https" };
        let method = if self.exchange.request == Body::None { "GET" } else { "POST" };
        let request = Request::builder().method(method).uri(format!("{scheme}://a.example{path}"));
        let request = match self.exchange.request {
            Body::Length(len) => request.header(header::CONTENT_LENGTH, len),
            _ => request,
        };
        request.body(()).unwrap()
    }

    /// Sends the body; returns what keeps the stream open.
    async fn send(self, mut body: SendStream<Bytes>, content: Vec<u8>) -> SendStream<Bytes> {
        let (fault, len) = (self.fault_of(Side::Request), content.len());
        let end = fault.map_or(len, |fault| fault.after.min(len));
        let (mut at, mut ended, mut sizes) = (0, false, self.pieces.iter().cycle());
        while at < end {
            let piece = next_piece(&mut sizes, len).min(end - at);
            let Some(room) = room(&mut body, piece).await else { return body };
            let next = at + room.min(piece);
            ended = next == len && self.ending == Ending::LastData && fault.is_none();
            if body.send_data(Bytes::copy_from_slice(&content[at..next]), ended).is_err() {
                return body;
            }
            at = next;
            pause(at).await;
        }
        let _ = match fault.map(|fault| fault.act) {
            Some(Act::Reset) => {
                body.send_reset(Reason::CANCEL);
                Ok(())
            }
            Some(Act::Stall) => Ok(()),
            None if ended => Ok(()),
            None if self.ending == Ending::Trailers => body.send_trailers(HeaderMap::new()),
            None => body.send_data(Bytes::new(), true),
        };
        body
    }

    /// Receives the answer; `false`: the client wants no more of it.
    async fn receive(&self, response: ResponseFuture, answer: &mut Answer) -> bool {
        let response = match within(response).await {
            Ok(response) => response,
            Err(error) => {
                answer.error = Some(error);
                return true;
            }
        };
        let of = response.headers().get("x-of").map(|of| String::from_utf8_lossy(of.as_bytes()).into_owned());
        answer.head = Some((response.status().as_u16(), of));
        let (mut body, mut sizes) = (response.into_body(), self.taken.iter().cycle());
        loop {
            let fault = self.fault_of(Side::Answer).filter(|fault| fault.after <= answer.body.len());
            if fault.is_some_and(|fault| fault.act == Act::Reset) {
                return false;
            }
            let data = match within(body.data()).await {
                None => break,
                Some(Ok(data)) => data,
                Some(Err(error)) => {
                    answer.error = Some(error);
                    return true;
                }
            };
            answer.body.extend_from_slice(&data);
            let mut held = if fault.is_some() { 0 } else { data.len() };
            while held > 0 {
                // Few pauses: to the proxy, a connection is idle once its answers are sent, though they be taken later.
                let size = next_piece(&mut sizes, self.exchange.answer.len() * 3).min(held);
                let _ = body.flow_control().release_capacity(size);
                held -= size;
                if held > 0 {
                    pause(held).await;
                }
            }
        }
        answer.whole = within(body.trailers()).await.is_ok();
        true
    }

    /// Plays the stream on a connection.
    async fn play(self, mut client: SendRequest<Bytes>, request: Request<()>, content: Vec<u8>) -> Answer {
        let mut answer = Answer::default();
        let bodiless = self.exchange.request == Body::None;
        let (response, mut body) = match client.send_request(request, bodiless) {
            Ok(begun) => begun,
            Err(error) => return Answer::without(error),
        };
        let resets = |fault: StreamFault| fault.act == Act::Reset;
        if bodiless {
            if self.fault_of(Side::Request).is_some_and(resets) {
                body.send_reset(Reason::CANCEL);
            }
            self.receive(response, &mut answer).await;
            return answer;
        }
        let sending = tokio::spawn(self.clone().send(body, content));
        if !self.receive(response, &mut answer).await {
            sending.abort();
        }
        let _open = within(sending).await;
        answer
    }
}

/// Room for a part of the body; `None`: the stream is closed.
async fn room(body: &mut SendStream<Bytes>, wanted: usize) -> Option<usize> {
    body.reserve_capacity(wanted);
    match body.capacity() {
        0 => within(poll_fn(|cx| body.poll_capacity(cx))).await?.ok(),
        room => Some(room),
    }
}

/// Plays a script to the proxy.
///
/// # Errors
/// If something is wrong with what comes back.
async fn play(model: &Model, number: usize, script: &Script) -> Result<(), String> {
    let (below, above) = if script.beneath { (script.fault, None) } else { (None, script.fault) };
    let excused = |what: String| if script.fault.is_some() { Ok(()) } else { Err(what) };
    let io = match model.connect(script.over, "h2", below).await {
        Ok(io) => io,
        Err(error) => return excused(format!("no connection: {error}")),
    };
    let mut builder = h2::client::Builder::new();
    // Windows that stay closed leave room for the streams beside them.
    let of_all = (script.window * (script.streams.len() + 1)).max(65_535);
    builder.initial_window_size(script.window as u32).initial_connection_window_size(of_all as u32);
    let (client, connection) = match within(builder.handshake(Breaking::new(io, above))).await {
        Ok(open) => open,
        Err(error) => return excused(format!("no connection: {error}")),
    };
    let driver = tokio::spawn(connection);
    let (mut playing, mut answers) = (JoinSet::new(), Vec::new());
    for (n, stream) in script.streams.iter().enumerate() {
        while stream.waits
            && let Some(played) = playing.join_next().await
        {
            answers.push(played.unwrap());
        }
        let request = stream.request(script.over, &format!("/{number}/{n}"));
        let content = stream.exchange.requests(number, n);
        match within(client.clone().ready()).await {
            Ok(client) => {
                let playing_it = stream.clone().play(client, request, content);
                playing.spawn(async move { (n, playing_it.await) });
            }
            Err(error) => answers.push((n, Answer::without(error))),
        }
    }
    while let Some(played) = playing.join_next().await {
        answers.push(played.unwrap());
    }
    drop(client);
    if let Err(error) = within(driver).await.unwrap() {
        excused(format!("the connection ended with: {error}"))?;
    }
    for (n, answer) in &answers {
        check(number, *n, script, answer).map_err(|what| format!("stream {n}: {what}"))?;
    }
    Ok(())
}

fn check(number: usize, n: usize, script: &Script, answer: &Answer) -> Result<(), String> {
    let Stream { exchange, fault, .. } = &script.streams[n];
    let faulty = script.fault.is_some() || fault.is_some() || exchange.fault.is_some();
    let want = exchange.answers(number, n);
    match &answer.head {
        None if faulty => {}
        None => return Err(format!("no answer: {:?}", answer.error)),
        Some((_, Some(of))) if *of == format!("/{number}/{n}") => exchange
            .judge_answer(&answer.body, answer.whole, &want)
            .map_err(|what| format!("the body of its answer {what}"))?,
        // The proxy's own.
        Some((400..600, None)) if faulty => {}
        Some(head) => return Err(format!("the answer is not its own: {head:?}")),
    }
    match faulty || (answer.whole && answer.body == want) {
        true => Ok(()),
        false => {
            let (got, error) = (answer.body.len(), &answer.error);
            Err(format!("the answer is not whole: {got} of {} bytes, {error:?}", want.len()))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_one_stream_the_others_are_answered_and_a_connection_ends() {
    let scripts = draw(CONNECTIONS, &script());
    let part = |script: &Script| Part {
        exchanges: script.streams.iter().map(|stream| stream.exchange.clone()).collect(),
        // What is changed beneath TLS does not pass it.
        garbled: !script.beneath && script.fault.is_some_and(|fault| fault.kind == Kind::Nonsense),
    };
    let model = Model::start(scripts.iter().map(part).collect()).await;
    let play = |number| {
        let (model, scripts) = (Arc::clone(&model), Arc::clone(&scripts));
        async move { play(&model, number, &scripts[number]).await }
    };
    model.play(CONNECTIONS, play).await;
}
