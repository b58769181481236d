//! An authorization service that is asked by HTTP (HTTPAuthConfig).

use ::http::{HeaderName, StatusCode, header};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use portcullis_routing::{
    Outcome, Rejection, Reply,
    step::{Change, HttpAuth},
};

use super::{Answered, DENIED, NO_ANSWER, end_to_end, headers_for_backend};

/// The request for the service: the client's method, its path behind a prefix, and of its headers those that are named.
/// `body`: how many bytes of a body follow.
///
/// # Errors
/// If the path is not one.
pub(super) fn request(settings: &HttpAuth, of: &RequestHeader, body: usize) -> Result<RequestHeader> {
    let target = of.uri.path_and_query().map_or("/", |target| target.as_str());
    let target = [&*settings.path_prefix, target].concat();
    let named = &settings.request_headers;
    let mut request = RequestHeader::build(of.method.clone(), target.as_bytes(), Some(named.len() + 3))?;
    request
        .uri
        .path_and_query()
        .ok_or_else(|| Error::explain(ErrorType::InvalidHTTPHeader, "the path is not valid"))?;
    for name in [header::HOST, header::AUTHORIZATION].iter().chain(named) {
        for value in of.headers.get_all(name) {
            request.append_header(name, value)?;
        }
    }
    request.insert_header(header::CONTENT_LENGTH, body)?;
    Ok(request)
}

/// What the service's answer means: a 200 lets the request go on, any other is the client's answer.
pub(super) fn outcome(settings: &HttpAuth, Answered { head, body }: Answered) -> Outcome {
    if head.status != StatusCode::OK {
        // A client must not take a denial for success.
        let status = if head.status.is_success() { StatusCode::FORBIDDEN } else { head.status };
        let headers = end_to_end(&head.headers).map(|(name, value)| (name.clone(), value.clone()));
        let content = body.unwrap_or_default().into();
        let why = (Rejection::Unauthorized, DENIED);
        return Outcome::Reply(Reply { status, headers: headers.collect(), content, why });
    }
    let named = &settings.answer_headers;
    let goes_on = |name: &HeaderName| match named.is_empty() {
        // What describes the service's body does not describe the client's.
        true => !name.as_str().starts_with("content-"),
        false => named.contains(name),
    };
    let set = end_to_end(&head.headers).filter(|(name, _)| goes_on(name));
    let set: Vec<_> = set.map(|(name, value)| (name.clone(), value.clone())).collect();
    // A client must not pretend to be the service by sending what the service has left out.
    let missing = named.iter().filter(|name| set.iter().all(|(there, _)| there != *name));
    let missing: Vec<_> = missing.filter(|name| Change::Remove.check(name).is_ok()).cloned().collect();
    match headers_for_backend(set, [], missing) {
        Ok(step) => Outcome::Pass(step.into_iter().collect()),
        Err(_) => Outcome::Deny(Rejection::CheckFailed, NO_ANSWER),
    }
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;
    use pingora_http::ResponseHeader;
    use portcullis_routing::Step;

    use super::*;

    fn name(name: &str) -> HeaderName {
        name.parse().unwrap()
    }

    fn answered(status: u16, headers: &[(&'static str, &'static str)], body: Option<&str>) -> Answered {
        let mut head = Box::new(ResponseHeader::build(status, None).unwrap());
        for (name, value) in headers {
            head.append_header(*name, *value).unwrap();
        }
        Answered { head, body: body.map(|body| body.as_bytes().to_vec()) }
    }

    #[test]
    fn the_service_gets_what_is_named_and_nothing_else() {
        let mut client = RequestHeader::build("PUT", b"/a/b?c=d", None).unwrap();
        for (name, value) in [
            ("Host", "shop.example"),
            ("Authorization", "Basic eDp5"),
            ("Cookie", "a=b"),
            ("X-One", "1"),
            ("X-One", "2"),
            ("Content-Length", "5"),
        ] {
            client.append_header(name, value).unwrap();
        }
        let settings = HttpAuth {
            path_prefix: "/check".into(),
            request_headers: [name("x-one"), name("x-absent")].into(),
            ..HttpAuth::default()
        };
        let asked = request(&settings, &client, 0).unwrap();
        assert_eq!((asked.method.as_str(), asked.raw_path()), ("PUT", &b"/check/a/b?c=d"[..]));
        let text =
            |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let headers: Vec<_> = asked.headers.iter().map(text).collect();
        assert_eq!(
            headers,
            ["host: shop.example", "authorization: Basic eDp5", "x-one: 1", "x-one: 2", "content-length: 0"]
        );
    }

    #[test]
    fn a_200_brings_headers_and_takes_away_what_the_client_pretends() {
        let answer = [
            ("X-User", "jo"),
            ("X-User", "ann"),
            ("Content-Type", "text/plain"),
            ("Transfer-Encoding", "chunked"),
        ];
        for (named, wanted) in [
            (vec![], "request headers x-user=jo +x-user=ann"),
            (vec![name("x-user"), name("x-role")], "request headers x-user=jo +x-user=ann -x-role"),
            (vec![name("x-role")], "request headers -x-role"),
            // The request's own is never taken away.
            (vec![name("host"), name("x-role")], "request headers -x-role"),
        ] {
            let settings = HttpAuth { answer_headers: named.into(), ..HttpAuth::default() };
            let Outcome::Pass(steps) = outcome(&settings, answered(200, &answer, Some(""))) else {
                panic!("{wanted}")
            };
            assert_eq!(steps.iter().map(Step::to_string).collect::<Vec<_>>(), [wanted]);
        }
        let Outcome::Pass(steps) = outcome(&HttpAuth::default(), answered(200, &[], None)) else { panic!() };
        assert!(steps.is_empty());
    }

    #[test]
    fn any_other_status_is_the_clients_answer() {
        for (status, body, wanted) in [
            (302, Some("go"), (302, "go")),
            (401, None, (401, "")),
            (503, Some("down"), (503, "down")),
            (204, Some(""), (403, "")),
        ] {
            let answer = answered(status, &[("Location", "/login"), ("Content-Length", "9")], body);
            let Outcome::Reply(reply) = outcome(&HttpAuth::default(), answer) else { panic!("{status}") };
            let content = std::str::from_utf8(&reply.content).unwrap();
            assert_eq!((reply.status.as_u16(), content), wanted);
            let names: Vec<_> = reply.headers.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["location"], "the length is that of what is sent");
        }
    }
}
