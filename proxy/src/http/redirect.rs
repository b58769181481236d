//! RequestRedirect carried out.

use http::HeaderValue;
use pingora_http::RequestHeader;
use portcullis_routing::{
    Rejection, Selected,
    step::{Origin, Redirect},
};

use super::{answer::Answer, context::Context, forwarded, host::Host, target::Target};
use crate::Options;

/// The answer of a rule that sends the client elsewhere.
pub(crate) fn answer(
    redirect: &Redirect,
    selected: &Selected<'_>,
    (head, host, target): (&RequestHeader, &Host<'_>, &Target<'_>),
    context: &Context,
    options: &Options,
) -> Box<Answer> {
    let scheme = forwarded::scheme(head, context, options);
    let path = match target.path.read(selected.reading) {
        Ok(path) => path,
        Err(invalid) => return Answer::reject(Rejection::BadRequest, invalid.why()),
    };
    let origin = Origin {
        scheme,
        host: &host.name,
        port: port(scheme, context),
        port_offset: context.conn.offset,
        path: &path,
        sent: target.path.location(selected.reading),
        query: target.query,
    };
    match HeaderValue::try_from(redirect.location(&origin, selected.path)) {
        Ok(location) => Answer::redirect(redirect.status, location),
        Err(_) => Answer::reject(Rejection::BadRequest, "the redirect has no valid location"),
    }
}

/// The listener's port; behind a proxy that ended the client's TLS, that of the client's scheme.
fn port(scheme: &str, context: &Context) -> u16 {
    match (scheme, &context.conn.tls) {
        ("https", None) => 443,
        ("http", Some(_)) => 80,
        _ => context.conn.client_port,
    }
}
