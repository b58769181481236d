//! An explanation in words, for people.

use std::fmt::{self, Display};

use super::{ExplainedBackend, ExplainedListener, ExplainedOutcome, ExplainedRule, Explanation};
use crate::{Asked, Entry, HostPattern, Listener, PathMatch, Port, Request, step::Check};

pub(super) fn request(request: &Request<'_>) -> String {
    let (path, query) = match request.asked {
        Asked::Resource(target) => (target.path.sent(), target.query),
        Asked::Server => ("*", None),
    };
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{} {}{path}{query}", request.method, request.host)
}

pub(super) fn listener(port: &Port, listener: &Listener, host: &str) -> ExplainedListener {
    let hostname = port.listeners.matches(host).next().map(|(hostname, _)| hostname.to_string());
    ExplainedListener {
        port: port.for_clients(),
        hostname: hostname.filter(|name| !name.is_empty()).unwrap_or_else(|| "*".to_owned()),
        owner: listener.id.to_string(),
        filters: listener.filters().iter().map(Check::to_string).collect(),
    }
}

pub(super) fn rule(host: &HostPattern, entry: &Entry) -> ExplainedRule {
    ExplainedRule {
        route: entry.rule.route.to_string(),
        index: entry.rule.index,
        name: entry.rule.name.as_deref().map(str::to_owned),
        hostname: host.to_string(),
        matched: entry.route_match.to_string(),
    }
}

/// The text of a condition on the path.
pub(super) fn path(path: &PathMatch) -> &str {
    match path {
        PathMatch::Exact(text) | PathMatch::Prefix(text) | PathMatch::GrpcMethod(text) => text,
        PathMatch::Location(location) => &location.text,
        PathMatch::Regex(_) => "",
    }
}

impl Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "request   {}", self.request)?;
        if let Some(ExplainedListener { port, hostname, owner, filters }) = &self.listener {
            writeln!(f, "listener  {owner}, port {port}, hostname {hostname}")?;
            filters.iter().try_for_each(|filter| writeln!(f, "  first   {filter}"))?;
        }
        if let Some(rule) = &self.rule {
            writeln!(f, "rule      {rule}")?;
        }
        if let Some(next) = &self.next {
            writeln!(f, "  before  {}\n          because {}", next.rule, next.because)?;
        }
        if let Some(miss) = &self.nearest {
            writeln!(f, "nearest   {}", miss.rule)?;
            miss.missing.iter().try_for_each(|missing| writeln!(f, "          but {missing}"))?;
        }
        self.steps.iter().try_for_each(|step| writeln!(f, "step      {step}"))?;
        self.backends.iter().try_for_each(|backend| writeln!(f, "backend   {backend}"))?;
        writeln!(f, "outcome   {}", self.outcome)
    }
}

impl Display for ExplainedRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule {}", self.route, self.index)?;
        self.name.iter().try_for_each(|name| write!(f, " ({name})"))?;
        write!(f, ": {} on hostname {}", self.matched, self.hostname)
    }
}

impl Display for ExplainedBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, weight {}", self.backend, self.weight)?;
        self.chosen.iter().try_for_each(|chosen| write!(f, ", {chosen}"))?;
        self.protocol.iter().try_for_each(|protocol| write!(f, ", {protocol}"))?;
        self.steps.iter().try_for_each(|step| write!(f, ", {step}"))?;
        match &*self.endpoints {
            [] => f.write_str(", no endpoint"),
            endpoints => write!(f, ", endpoints {}", endpoints.join(" ")),
        }
    }
}

impl Display for ExplainedOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forwarded { target, carrier } => {
                f.write_str("forwarded")?;
                target.iter().try_for_each(|target| write!(f, " as {target}"))?;
                carrier.iter().try_for_each(|carrier| write!(f, ", carried by {carrier}"))
            }
            Self::Closed { why } => write!(f, "closed or dropped: {why}"),
            Self::Answered { status, location, why } => {
                write!(f, "answered with {status}")?;
                location.iter().try_for_each(|location| write!(f, ", Location {location}"))?;
                why.iter().try_for_each(|why| write!(f, ": {why}"))
            }
        }
    }
}
