//! The immutable routing table: which route takes a request, and what is decided about it.
//!
//! No I/O, no clock, no Kubernetes client, no proxy: the parts of a table have been read, checked and resolved
//! before; decisions are carried out elsewhere.
//!
//! ```text
//! Table -> Port (80, 443, ...) -> Listener (by host) -> HostTable (by the route's own host) -> Rule -> Backends
//! decide(Table, Request, Connection) -> Answer | Forward | Ask
//! ```

pub mod address;
pub mod backend;
pub mod balance;
pub mod decide;
mod describe;
mod explain;
pub mod headers;
pub mod host;
mod labels;
pub mod log_format;
pub mod matching;
pub mod networks;
pub mod path;
pub mod pattern;
pub mod port;
pub mod reach;
pub mod rejection;
pub mod route;
pub mod step;
pub mod table;
mod target;
pub mod template;

pub use address::Special;
pub use backend::{
    Backend, BackendError, BackendKey, BackendObject, BackendProtocol, BackendTls, Backends, Draw, Endpoint,
    EndpointPool, Endpoints, Picked, ProxyProtocol, Spread, SubjectName, TlsMaterial, TlsVersions, Verify,
    WeightedBackend,
};
pub use balance::{Affinity, Balance, Canary, HashBy};
pub use decide::{
    Answer, Carrier, Connection, Cursor, Decision, Outcome, Reply, Request, Route, decide, renew_rules,
    resume,
};
pub use explain::{Explanation, explain, explain_stream};
pub use headers::{Headers, HeadersMut};
pub use host::{HostMap, HostPattern, InvalidHost};
pub use labels::{IngressLabels, bounded_label};
pub use matching::{
    HeaderMatch, Location, PathMatch, Precedence, QueryMatch, RequestHead, RequestView, RouteMatch,
    ValueMatch,
};
pub use networks::Networks;
pub use pattern::{InvalidPattern, Pattern};
pub use port::{PortKey, Transport};
pub use reach::{ClusterAddresses, ExternalNames, NameGrant, ServiceName};
pub use rejection::Rejection;
pub use route::{Failures, OwnTimeouts, Repeats, Retry, RouteId, RouteKind, Rule, Timeouts};
pub use step::{Step, Steps};
pub use table::{
    ClientAuth, Entry, HostTable, HttpRoutes, Listener, ListenerId, ListenerOwner, PatternSet, Port,
    Protocol, Selected, Serves, SortedEntries, Table, TlsMode,
};
pub use target::{Asked, Target};
pub use template::Template;
