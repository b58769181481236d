//! Headers that are set to fixed values and to values of the request: both have the same effect on every response.

use http::{HeaderName, header};

use super::{ingress_auth::auth_with, *};
use crate::{
    Template,
    step::{
        AddedHeaders, AuthAnswer, ClientCertificateCheck, Demand, ErrorOrigin, ErrorPages, HeaderTemplates,
        OwnUrl, RewriteTarget, Satisfy, SignIn,
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

/// The steps of `add-headers` with a fixed value and one of the request.
fn added() -> AddedHeaders {
    let set = (FIXED, HeaderValue::from_static("of a.example"));
    AddedHeaders {
        fixed: HeaderModifier::new([set], [], []).ok(),
        varying: HeaderTemplates::new([(VARYING, template("of $host"))]).ok(),
    }
}

#[test]
fn answers_to_requests_that_no_rule_takes_have_both_at_ingresses_alone() {
    let mut table = table(rule([], [ready()]));
    let port = Arc::make_mut(table.ports.get_mut(&PortKey::tcp(80)).unwrap());
    for (host, id) in [
        ("ingress.example", ListenerId::ingress(HostPattern::parse("ingress.example").unwrap())),
        ("gateway.example", ListenerId::gateway("n", "g", "s")),
    ] {
        let host = HostPattern::parse(host).unwrap();
        port.listeners.insert(host, Arc::new(Listener::http(id, HttpRoutes::default())));
    }
    for is_set in [true, false] {
        let port = Arc::make_mut(table.ports.get_mut(&PortKey::tcp(80)).unwrap());
        port.unmatched = is_set.then(|| Arc::new(added()));
        for (host, of_ingresses) in
            [("none.example", true), ("ingress.example", true), ("gateway.example", false)]
        {
            let asked = Asked::parse(&Method::GET, b"/").unwrap();
            let decision = decide(&table, request(&Method::GET, host, &asked), plain(), 0);
            let Decision::Answer(answer) = decision else { panic!("{decision:?}") };
            let (none, mut headers) = (HeaderMap::new(), HeaderMap::new());
            answer.edits(None, &none).apply(&mut headers);
            let value = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            let of_host = format!("of {host}");
            let want = [Some("of a.example".to_owned()), Some(of_host)]
                .map(|of| of.filter(|_| is_set && of_ingresses));
            assert_eq!(
                (answer.status, [value(&FIXED), value(&VARYING)]),
                (StatusCode::NOT_FOUND, want),
                "{host}"
            );
        }
    }
}

#[test]
fn error_pages_have_both() {
    let pages = || {
        let of_page = Rule { steps: Steps::new(added().into_steps()), ..rule([], [ready()]) };
        let origin = ErrorOrigin { namespace: None, ingress: None, service: None, port: None };
        Step::ErrorPages(Box::new(ErrorPages {
            statuses: [503].into(),
            of_backends: true,
            rule: Arc::new(of_page),
            origin: Arc::new(origin),
        }))
    };
    // In place of a backend's response, and of one of the proxy.
    let with_backend = decided(&table(rule([pages()], [ready()])), plain());
    let Decision::Forward(forward) = with_backend else { panic!("{with_backend:?}") };
    let page = forward.route.page(503).expect("a page").route;
    let none = Ok(Endpoints::Addresses(Box::default()));
    let without = decided(&table(rule([pages()], [none])), plain());
    let Decision::Forward(Forward { route: without, .. }) = without else { panic!("{without:?}") };
    for page in [page, without] {
        assert!(page.is_page());
        let (none, mut headers, mut own) = (HeaderMap::new(), HeaderMap::new(), HeaderMap::new());
        page.answer_edits(200, &none).apply(&mut headers);
        page.own_answer_edits(502, &none).apply(&mut own);
        assert_eq!((both(&headers), both(&own)), (wanted(), wanted()));
    }
}
