//! Headers that are set to fixed values and to values of the request: both have the same effect on every response.

use http::{HeaderName, header};

use super::{ingress_auth::auth_with, *};
use crate::{
    Template,
    step::{
        AuthAnswer, ClientCertificateCheck, Demand, HeaderTemplates, OwnUrl, RewriteTarget, Satisfy, SignIn,
    },
};

const FIXED: HeaderName = HeaderName::from_static("x-fixed");
const VARYING: HeaderName = HeaderName::from_static("x-varying");

fn template(text: &str) -> Template {
    Template::parse(text, &[]).unwrap()
}

/// The steps of `hide-headers` for two headers, and of `add-headers` and `proxy-set-headers` for the same ones.
fn settings() -> Vec<Step> {
    let set = || HeaderModifier::new([(FIXED, HeaderValue::from_static("of a.example"))], [], []).unwrap();
    let templates = || HeaderTemplates::new([(VARYING, template("of $host"))]).unwrap();
    let hidden = || HeaderModifier::new([], [], [FIXED, VARYING]).unwrap();
    vec![
        Step::ResponseHeaders(hidden()),
        Step::AnswerHeaders(set()),
        Step::AnswerTemplates(templates()),
        Step::RequestHeaders(hidden()),
        Step::RequestHeaders(set()),
        Step::RequestTemplates(templates()),
    ]
}

fn of_rule(step: Step) -> Table {
    table(rule(settings().into_iter().chain([step]), [ready()]))
}

fn decided(table: &Table, connection: Connection<'_>) -> Decision {
    let asked = Asked::parse(&Method::GET, b"/").unwrap();
    decide(table, request(&Method::GET, "a.example", &asked), connection, 0)
}

/// The two headers in a response of the proxy.
fn of_answer(decision: &Decision) -> (StatusCode, [String; 2]) {
    let Decision::Answer(answer) = decision else { panic!("{decision:?}") };
    let (mut headers, none) = (HeaderMap::new(), HeaderMap::new());
    let route = answer.route.as_ref().expect("a route");
    route.own_answer_edits(answer.status.as_u16(), &none).apply(&mut headers);
    (answer.status, both(&headers))
}

fn both(headers: &HeaderMap) -> [String; 2] {
    [FIXED, VARYING].map(|name| headers[name].to_str().unwrap().to_owned())
}

fn wanted() -> [String; 2] {
    ["of a.example", "of a.example"].map(Into::into)
}

#[test]
fn forwarded_requests_and_their_answers_have_both() {
    let decision = decided(&of_rule(Step::Satisfy), plain());
    let Decision::Forward(forward) = decision else { panic!("{decision:?}") };
    let none = HeaderMap::new();
    let mut headers =
        HeaderMap::from_iter([FIXED, VARYING].map(|name| (name, HeaderValue::from_static("sent"))));
    let mut sent = headers.clone();
    forward.route.answer_edits(200, &none).apply(&mut headers);
    forward.route.request_edits().apply(&mut sent);
    assert_eq!((both(&headers), both(&sent)), (wanted(), wanted()));
}

#[test]
fn redirects_have_both() {
    let target = RewriteTarget { pattern: None, target: template("https://b.example/") };
    let decision = decided(&of_rule(Step::RewriteTarget(Box::new(target))), plain());
    assert_eq!(of_answer(&decision), (StatusCode::FOUND, wanted()));
}

#[test]
fn answers_about_client_certificates_have_both() {
    for (demand, error_page, status) in [
        (Demand::Impossible, None, StatusCode::FORBIDDEN),
        (Demand::Valid, None, StatusCode::BAD_REQUEST),
        (Demand::Valid, Some("https://b.example/"), StatusCode::FOUND),
    ] {
        let error_page = error_page.map(Into::into);
        let check = ClientCertificateCheck { demand, subject: None, error_page, pass: false };
        let mut table = of_rule(Step::ClientCertificate(Box::new(check)));
        let port = Arc::make_mut(table.ports.get_mut(&PortKey::tcp(80)).unwrap());
        let mut listener = Listener::clone(port.listener("a.example").unwrap());
        listener.tls = TlsMode::Terminate(ClientAuth::Unasked);
        port.listeners.insert(HostPattern::parse("a.example").unwrap(), Arc::new(listener));
        let tls =
            Tls { server_name: Some("a.example"), client_auth: &ClientAuth::Unasked, certificate: None };
        let decision = decided(&table, Connection { tls: Some(tls), ..plain() });
        assert_eq!(of_answer(&decision), (status, wanted()));
    }
}

#[test]
fn answers_of_external_authentication_have_both() {
    let sign_in = SignIn { url: template("http://login/"), own: OwnUrl::default() };
    for (sign_in, status) in [(None, StatusCode::UNAUTHORIZED), (Some(sign_in), StatusCode::FOUND)] {
        let table = of_rule(auth_with(sign_in, Satisfy::All));
        let Decision::Ask(cursor) = decided(&table, plain()) else { panic!("no check") };
        let asked = Asked::parse(&Method::GET, b"/").unwrap();
        let request = request(&Method::GET, "a.example", &asked);
        let headers = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))].into();
        let answer = AuthAnswer { status: StatusCode::UNAUTHORIZED, headers };
        let decision = resume(*cursor, request, plain(), Outcome::Answered(Arc::new(answer)));
        assert_eq!(of_answer(&decision), (status, wanted()));
    }
}
