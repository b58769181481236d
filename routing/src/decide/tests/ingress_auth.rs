//! External authentication of Ingresses: what is asked, and what becomes of the answer.

use http::HeaderName;

use super::*;
use crate::{
    Template,
    step::{
        AuthAnswer, IngressAuth, IngressCors, IngressRedirect, OwnUrl, Satisfy, ServiceUrl, SignIn,
        ingress_auth::CHECKED,
    },
};

fn template(text: &str) -> Template {
    Template::parse(text, &[]).unwrap()
}

fn auth(sign_in: Option<SignIn>) -> Step {
    auth_with(sign_in, Satisfy::All)
}

pub(super) fn auth_with(sign_in: Option<SignIn>, satisfy: Satisfy) -> Step {
    let url = ServiceUrl { tls: false, host: template("auth"), port: 80, target: template("/check") };
    Step::Check(Check::IngressAuth(Arc::new(IngressAuth {
        url,
        method: None,
        sign_in,
        answer_headers: [HeaderName::from_static("x-user")].into(),
        redirect: None,
        set_headers: Box::default(),
        always_set_cookie: false,
        caching: None,
        namespace: None,
        satisfy,
    })))
}

fn sign_in(url: &str) -> Option<SignIn> {
    Some(SignIn { url: template(url), own: OwnUrl::default() })
}

fn answered(status: u16) -> Outcome {
    let headers = [("x-user", "jo"), ("set-cookie", "a=1"), ("www-authenticate", "Bearer")];
    let headers =
        headers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    let status = StatusCode::from_u16(status).unwrap();
    Outcome::Answered(Arc::new(AuthAnswer { status, headers: headers.into() }))
}

/// The decision about a request whose check is answered by this outcome.
fn after(rule: Rule, outcome: Outcome) -> Decision {
    let asked = Asked::parse(&Method::GET, b"/a?b=c").unwrap();
    let request = request(&Method::GET, "a.example", &asked);
    let Decision::Ask(cursor) = decide(&table(rule), request, plain(), 0) else { panic!("asks nobody") };
    let question = cursor.question().expect("a question");
    assert_eq!((&*question.host, &*question.target), ("auth", "/check"));
    resume(*cursor, request, plain(), outcome)
}

#[test]
fn the_answer_decides() {
    const DENIED: &str = "denied by the authorization service";
    const UNUSABLE: &str = "the authorization service responds with neither 2xx nor 401 nor 403";
    for (status, want) in [
        (200, "forward".to_owned()),
        (401, format!("401 {DENIED}")),
        (403, format!("403 {DENIED}")),
        (302, format!("500 {UNUSABLE}")),
        (500, format!("500 {UNUSABLE}")),
    ] {
        assert_eq!(text(&after(rule([auth(None)], [ready()]), answered(status))), want, "{status}");
    }
    let denied = Outcome::Deny(Rejection::CheckFailed, "no answer");
    assert_eq!(text(&after(rule([auth(None)], [ready()]), denied)), "500 no answer");
}

#[test]
fn what_passes_takes_headers_to_the_backend_and_a_cookie_to_the_client() {
    let Decision::Forward(forward) = after(rule([auth(None)], [ready()]), answered(200)) else {
        panic!("does not pass")
    };
    let (mut sent, none) = (HeaderMap::new(), HeaderMap::new());
    sent.insert("x-user", HeaderValue::from_static("root"));
    forward.route.request_edits().apply(&mut sent);
    assert_eq!(sent["x-user"], "jo");
    for (status, want) in [(200, 2), (404, 1)] {
        let mut answer = HeaderMap::new();
        answer.insert("set-cookie", HeaderValue::from_static("own=2"));
        forward.route.answer_edits(status, &none).apply(&mut answer);
        assert_eq!(answer.get_all("set-cookie").iter().count(), want, "{status}");
    }
    let mut lines = Vec::new();
    forward.route.answer_edits(302, &none).write(&mut lines);
    assert_eq!(lines, b"set-cookie: a=1\r\n");
    assert!(!forward.route.answer_edits(302, &none).replaces(b"Set-Cookie"), "the backend's own stays");
}

#[test]
fn whoever_is_not_known_is_sent_to_sign_in() {
    for (url, want) in [
        ("http://login/?rd=$escaped_request_uri", "http://login/?rd=%2Fa%3Fb%3Dc"),
        ("/start?x", "http://a.example/start?x"),
    ] {
        let decision = after(rule([auth(sign_in(url))], [ready()]), answered(401));
        let Decision::Answer(answer) = decision else { panic!("no answer") };
        let headers: Vec<_> =
            answer.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(answer.status, 302);
        assert_eq!(headers, [("location", want), ("www-authenticate", "Bearer"), ("set-cookie", "a=1")]);
        assert!(answer.route.is_some(), "its CORS and HSTS apply");
    }
    assert_eq!(
        text(&after(rule([auth(sign_in("http://login"))], [ready()]), answered(403))),
        "403 denied by the authorization service"
    );
}

#[test]
fn redirects_preflights_and_missing_endpoints_come_before_the_check() {
    let https =
        IngressRedirect::Https { status: StatusCode::PERMANENT_REDIRECT, keep_slash: false, port: None };
    let https = Step::IngressRedirect(Box::new(https));
    let cors = Step::IngressCors(Arc::new(IngressCors { origins: None, headers: Box::default() }));
    let none = || Ok(Endpoints::Addresses(Box::default()));
    for (step, method, backend, want) in [
        (https, Method::GET, ready(), "308 "),
        (cors.clone(), Method::OPTIONS, ready(), "204 "),
        (cors, Method::GET, ready(), "ask http://auth:80/check"),
        (Step::Endpoints, Method::GET, none(), "503 the backend has no ready endpoint"),
    ] {
        let table = table(rule([auth(None), step], [backend]));
        assert_eq!(with_target(&table, &method, "/", plain()), want, "{method}");
    }
}

#[test]
fn a_check_knows_through_whom_it_has_come() {
    let asked = Asked::parse(&Method::GET, b"/").unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(CHECKED, HeaderValue::from_static("a,b"));
    let request = Request { headers: &headers, ..request(&Method::GET, "a.example", &asked) };
    let table = table(rule([auth(None)], [ready()]));
    let Decision::Ask(cursor) = decide(&table, request, plain(), 0) else { panic!("asks nobody") };
    assert_eq!(&*cursor.question().unwrap().checked, b"a,b");
}
