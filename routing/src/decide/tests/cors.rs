//! CORS of Ingresses beside other steps that answer.

use super::*;
use crate::step::{IngressCors, IngressRedirect};

#[test]
fn app_root_comes_before_cors_and_other_redirects_after_it() {
    let app_root = || IngressRedirect::AppRoot("/start".into());
    let https =
        || IngressRedirect::Https { status: StatusCode::PERMANENT_REDIRECT, keep_slash: false, port: None };
    for (redirect, method, status, without_cors) in [
        (app_root(), Method::GET, 302, true),
        (app_root(), Method::OPTIONS, 302, true),
        (https(), Method::GET, 308, false),
        (https(), Method::OPTIONS, 204, false),
    ] {
        let cors = Step::IngressCors(Arc::new(IngressCors { origins: None, headers: Box::default() }));
        let table = table(rule([cors, Step::IngressRedirect(Box::new(redirect))], [ready()]));
        let asked = Asked::parse(&method, b"/").unwrap();
        let decision = decide(&table, request(&method, "a.example", &asked), plain(), 0);
        let Decision::Answer(answer) = decision else { panic!("{method}: not answered") };
        assert_eq!((answer.status.as_u16(), answer.preflight), (status, without_cors), "{method}");
    }
}
