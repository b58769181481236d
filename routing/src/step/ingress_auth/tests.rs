use std::net::{IpAddr, Ipv4Addr};

use http::HeaderMap;

use super::*;
use crate::{
    step::Step,
    template::{NoGroups, Values},
};

pub(crate) fn auth() -> IngressAuth {
    let text = |text| Template::parse(text, &[]).unwrap();
    IngressAuth {
        url: ServiceUrl { tls: false, host: text("auth.test"), port: 80, target: text("/check") },
        method: None,
        sign_in: None,
        answer_headers: Box::default(),
        redirect: None,
        set_headers: Box::default(),
        always_set_cookie: false,
        caching: None,
        namespace: Some("shop".into()),
        satisfy: Satisfy::All,
    }
}

fn values<'r>(path: &'r str, query: Option<&'r str>, headers: &'r HeaderMap) -> Values<'r> {
    Values {
        host: "a.test",
        sent_host: "A.test:8080",
        path,
        sent_path: "/sent",
        query,
        scheme: "https",
        method: "PUT",
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        port: 443,
        headers,
        groups: &NoGroups,
    }
}

fn template(text: &str) -> Template {
    Template::parse(text, &[]).unwrap()
}

fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> AuthAnswer {
    let headers = headers.iter();
    let headers = headers
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    AuthAnswer { status: StatusCode::from_u16(status).unwrap(), headers }
}

#[test]
fn a_service_is_told_what_is_asked_for() {
    let headers = HeaderMap::new();
    let values = values("/sent", Some("q=1"), &headers);
    let said = |auth: &IngressAuth| {
        let question = auth.question(&values).unwrap();
        let line = |(name, value): &(HeaderName, HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        question.headers.iter().map(line).collect::<Vec<_>>()
    };
    let plain = [
        "x-original-url: https://A.test:8080/sent?q=1",
        "x-original-method: PUT",
        "x-sent-from: nginx-ingress-controller",
        "x-real-ip: 192.0.2.1",
        "x-forwarded-for: 192.0.2.1",
        "x-auth-request-redirect: /sent?q=1",
    ];
    assert_eq!(said(&auth()), plain);
    let by_post = IngressAuth {
        method: Some(Method::POST),
        redirect: Some(template("https://front.test$request_uri")),
        set_headers: [(HeaderName::from_static("x-host"), template("$host"))].into(),
        ..auth()
    };
    let more = ["x-original-uri: /sent?q=1", "x-scheme: https", "x-host: a.test"];
    let redirect = ["x-auth-request-redirect: https://front.test/sent?q=1"];
    assert_eq!(said(&by_post), [&plain[..5], &redirect, &more].concat());
}

/// Variables contain decoded values of the client, so that they can contain any byte.
#[test]
fn no_variable_ends_a_line() {
    let headers = HeaderMap::new();
    let values = values("/a\r\nX-Evil: 1 #?\u{7f}é", None, &headers);
    let url = ServiceUrl { target: template("/check$uri"), ..auth().url };
    let set_headers = [(HeaderName::from_static("x-path"), template("$uri"))].into();
    let sign_in = Some(SignIn { url: template("http://login.test$uri"), own: OwnUrl::default() });
    let auth = IngressAuth { url, set_headers, sign_in, ..auth() };
    let question = auth.question(&values).unwrap();
    assert_eq!(&*question.target, "/check/a%0D%0AX-Evil:%201%20%23?%7F%C3%A9");
    let value = &question.headers.last().unwrap().1;
    assert_eq!(value.to_str().unwrap(), "/a%0D%0AX-Evil: 1 #?%7F%C3%A9");
    let Verdict::SignIn(_, to, _) = auth.verdict(&answer(401, &[]), &values) else { panic!("no place") };
    assert_eq!(to, "http://login.test/a%0D%0AX-Evil: 1 #?%7F%C3%A9");
}

#[test]
fn the_host_of_a_request_may_be_that_of_the_service() {
    let headers = HeaderMap::new();
    let auth = IngressAuth { url: ServiceUrl { host: template("auth.$host"), ..auth().url }, ..auth() };
    assert_eq!(&*auth.question(&values("/", None, &headers)).unwrap().host, "auth.a.test");
}

/// The outcome of a request, in one line.
fn verdict(auth: &IngressAuth, answer: &AuthAnswer) -> String {
    let headers = HeaderMap::new();
    let listed = |headers: Vec<(HeaderName, HeaderValue)>| {
        let lines = headers.iter().map(|(name, value)| format!(" {name}: {}", value.to_str().unwrap()));
        lines.collect::<String>()
    };
    match auth.verdict(answer, &values("/", None, &headers)) {
        Verdict::Pass(steps) => {
            let steps = steps.iter().map(|step| match step {
                Step::AnswerCookie(cookie) => format!("{step} always={}", cookie.always),
                step => step.to_string(),
            });
            steps.collect::<Vec<_>>().join("; ")
        }
        Verdict::SignIn(_, to, headers) => format!("302 {to}{}", listed(headers)),
        Verdict::Deny(status, headers) => format!("{}{}", status.as_u16(), listed(headers)),
    }
}

#[test]
fn only_2xx_lets_a_request_pass() {
    for (status, want) in [
        (200, "request headers"),
        (204, "request headers"),
        (299, "request headers"),
        (301, "500"),
        (302, "500"),
        (304, "500"),
        (400, "500"),
        (401, "401"),
        (402, "500"),
        (403, "403"),
        (404, "500"),
        (429, "500"),
        (500, "500"),
        (503, "500"),
        (999, "500"),
    ] {
        assert_eq!(verdict(&auth(), &answer(status, &[])), want, "{status}");
    }
}

#[test]
fn headers_of_the_answer_take_the_place_of_the_clients() {
    let names = ["x-user", "x-groups", "x-role", "x-empty"].map(HeaderName::from_static);
    let auth = IngressAuth { answer_headers: names.into(), ..auth() };
    let answered =
        answer(200, &[("x-user", "jo"), ("x-groups", "dev"), ("x-groups", "ops"), ("x-empty", "")]);
    let want = "request headers x-user=jo x-groups=dev, ops -x-role -x-empty";
    assert_eq!(verdict(&auth, &answered), want);
    assert_eq!(verdict(&auth, &answer(403, &[("x-user", "jo")])), "403");
}

#[test]
fn cookies_of_the_service_are_for_answers_that_are_no_error() {
    let cookies = &[("set-cookie", "a=1"), ("set-cookie", "b=2"), ("www-authenticate", "Bearer")][..];
    let sign_in = Some(SignIn { url: template("http://login.test"), own: OwnUrl::default() });
    for (status, always, with_sign_in, want) in [
        (200, false, false, "request headers; cookie a=1, b=2 always=false"),
        (200, true, false, "request headers; cookie a=1, b=2 always=true"),
        (401, false, false, "401 www-authenticate: Bearer"),
        (401, true, false, "401 www-authenticate: Bearer set-cookie: a=1, b=2"),
        (401, false, true, "302 http://login.test www-authenticate: Bearer set-cookie: a=1, b=2"),
        (403, false, true, "403"),
        (403, true, true, "403 set-cookie: a=1, b=2"),
        (500, false, false, "500"),
        (500, true, false, "500 set-cookie: a=1, b=2"),
    ] {
        let sign_in = sign_in.clone().filter(|_| with_sign_in);
        let auth = IngressAuth { always_set_cookie: always, sign_in, ..auth() };
        assert_eq!(verdict(&auth, &answer(status, cookies)), want, "{status} {always} {with_sign_in}");
    }
    for (status, always, want) in
        [(200, false, true), (302, false, true), (404, false, false), (404, true, true)]
    {
        let cookie = AnswerCookie { value: HeaderValue::from_static("a=1"), always };
        assert_eq!(cookie.is_with(status), want, "{status} {always}");
    }
}

#[test]
fn answers_are_kept_by_status_and_neither_denials_nor_failures() {
    let minutes = |minutes: u64| std::time::Duration::from_secs(60 * minutes);
    let some = |statuses: &[u16], time| CacheTime { statuses: Some(statuses.into()), time: minutes(time) };
    let of =
        |times: Vec<CacheTime>| AuthCaching { key: template("x"), times: times.into(), place: "".into() };
    let default = of(vec![some(&[200, 202, 401], 5)]);
    let any = of(vec![some(&[401, 403, 500], 1), CacheTime { statuses: None, time: minutes(9) }]);
    let none = of(vec![some(&[200], 0)]);
    for (caching, status, want) in [
        (&default, 200, Some(5)),
        (&default, 202, Some(5)),
        (&default, 401, Some(5)),
        (&default, 204, None),
        (&default, 403, None),
        (&any, 401, Some(1)),
        (&any, 403, None),
        (&any, 500, None),
        (&any, 302, None),
        (&any, 204, Some(9)),
        (&none, 200, None),
    ] {
        let time = caching.time(StatusCode::from_u16(status).unwrap());
        assert_eq!(time, want.map(minutes), "{caching} {status}");
    }
}
