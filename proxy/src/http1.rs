//! Our own carrier: from the bytes of a client to those of an HTTP/1 backend and back.
//!
//! ```text
//! client     a connection of HTTP/1: serves its requests one after the other
//!   plan     reads a head (head, message, name), decides (portcullis_routing::decide), writes what follows (request)
//!   receive  the request's body as a whole, where the rule spools it
//!   exchange attempts at backends (attempts, backend, pool), or an answer of ours (answer)
//!     relay  one attempt, both directions at a time: the request's body (upload, replay), the answer's head (answer)
//!            and body (incoming, framing)
//!   handover requests that pingora carries
//! streams    a request of an HTTP/2 client (frames): the same attempts, both directions over its stream
//! ```
//!
//! A head stays in the buffer that it was read into and is written once, for the other side; headers that are not changed
//! are copied in runs. Buffers are lent only while there is something in them. A request with nothing special about it sets no
//! timer and takes no lock.

mod answer;
mod attempts;
mod backend;
mod buffer;
mod client;
mod coded;
mod exchange;
mod fields;
mod frames;
mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod handover;
mod head;
mod incoming;
mod last_host;
mod lines;
mod message;
mod name;
mod plan;
mod pool;
#[cfg(test)]
mod properties;
mod receive;
#[cfg(any(test, fuzzing))]
mod reference;
mod relay;
mod replay;
mod request;
mod streams;
mod upload;

pub(crate) use self::{
    buffer::{Buffer, Size, sweep as sweep_buffers},
    client::serve,
    framing::{Framing, Part},
    pool::{
        IdleLimit, clear as close_idle_backends, set_limit as set_idle_backends, sweep as sweep_idle_backends,
    },
    streams::{answer as answer_stream, serve as serve_stream},
};
