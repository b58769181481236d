//! Connections of clients of HTTP/1: requests one after the other, sent without waiting for answers.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    Model,
    backend::Part,
    draw,
    script::{self, Body, Exchange, Fault, Kind},
    wire::{Over, Reader, framed, write},
};

const CONNECTIONS: usize = 480;

/// One connection of a client.
#[derive(Clone, Debug)]
struct Script {
    exchanges: Vec<Exchange>,
    /// Sizes of the pieces in which the client's bytes come, in turn.
    pieces: Vec<usize>,
    over: Over,
    fault: Option<Fault>,
    /// Whether the fault strikes the bytes beneath TLS, as well those of the handshake.
    beneath: bool,
}

/// A message, or as much of it as came before the connection ended.
#[derive(Debug)]
struct Message {
    head: String,
    body: Vec<u8>,
    whole: bool,
}

fn script() -> impl Strategy<Value = Script> {
    let exchanges = proptest::collection::vec(script::exchange(), 1..5);
    let over = prop_oneof![4 => Just(Over::Plain), 1 => Just(Over::Tls12), 1 => Just(Over::Tls13)];
    let fault = script::fault(2, 10_000);
    (exchanges, script::pieces(), over, fault, any::<bool>()).prop_map(
        |(exchanges, pieces, over, fault, beneath)| {
            let beneath = beneath && over != Over::Plain;
            Script { exchanges, pieces, over, fault, beneath }
        },
    )
}

/// All that a client sends.
fn requests(number: usize, script: &Script) -> Vec<u8> {
    let mut wire = Vec::new();
    for (n, exchange) in script.exchanges.iter().enumerate() {
        let (lines, body) = framed(exchange.request, &exchange.requests(number, n));
        let method = if exchange.request == Body::None { "GET" } else { "POST" };
        let last = if n + 1 == script.exchanges.len() { "Connection: close\r\n" } else { "" };
        let head = format!("{method} /{number}/{n} HTTP/1.1\r\nHost: a.example\r\n{last}{lines}\r\n");
        wire.extend_from_slice(head.as_bytes());
        wire.extend_from_slice(&body);
    }
    wire
}

/// Plays a script to the proxy.
///
/// # Errors
/// If something is wrong with what comes back.
async fn play(model: &Model, number: usize, script: &Script) -> Result<(), String> {
    let (below, above) = if script.beneath { (script.fault, None) } else { (None, script.fault) };
    let io = match model.connect(script.over, "http/1.1", below).await {
        Ok(io) => io,
        Err(_) if below.is_some() => return Ok(()),
        Err(error) => return Err(format!("no connection: {error}")),
    };
    let (read, mut writer) = tokio::io::split(io);
    let (wire, pieces) = (requests(number, script), script.pieces.clone());
    let writing = tokio::spawn(async move {
        // The half is kept, so that the connection is not closed from here.
        write(&mut writer, &wire, &pieces, above).await;
        writer
    });
    let mut reader = Reader::new(read);
    let mut answers = Vec::new();
    while let Some(head) = reader.head().await {
        let (body, whole) = reader.body(&head).await;
        answers.push(Message { head, body, whole });
        if !whole {
            break;
        }
    }
    writing.abort();
    check(number, script, &answers)
}

fn check(number: usize, script: &Script, answers: &[Message]) -> Result<(), String> {
    if answers.len() > script.exchanges.len() {
        return Err(format!("{} answers to {} requests", answers.len(), script.exchanges.len()));
    }
    for (n, (exchange, answer)) in script.exchanges.iter().zip(answers).enumerate() {
        let faulty = script.fault.is_some() || exchange.fault.is_some();
        let want = exchange.answers(number, n);
        let status = answer.head.split(' ').nth(1).unwrap_or_default();
        match answer.head.contains(&format!("X-Of: /{number}/{n}\r\n")) {
            true => exchange
                .judge_answer(&answer.body, answer.whole, &want)
                .map_err(|what| format!("the body of answer {n} {what}"))?,
            // The proxy's own.
            false if faulty && status.starts_with(['4', '5']) && !answer.head.contains("X-Of:") => {}
            false => return Err(format!("answer {n} is not its own: {:?}", answer.head)),
        }
        if !faulty && (!answer.whole || answer.body != want) {
            return Err(format!("answer {n} is not whole: {} of {} bytes", answer.body.len(), want.len()));
        }
    }
    // The requests before the first fault are answered.
    let sound = script.exchanges.iter().take_while(|exchange| exchange.fault.is_none()).count();
    match script.fault.is_some() || answers.len() >= sound {
        true => Ok(()),
        false => Err(format!("{} answers to {sound} requests without a fault", answers.len())),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_its_bytes_a_connection_keeps_exchanges_apart_and_ends() {
    let scripts = draw(CONNECTIONS, &script());
    let part = |script: &Script| Part {
        exchanges: script.exchanges.clone(),
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
