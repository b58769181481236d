use std::sync::mpsc;

use http::HeaderValue;
use portcullis_routing::step::{Satisfy, Users, basic_auth};
use tokio::runtime::Builder;

use super::*;

const BCRYPT: &str = "$2y$05$.LgS0sSX43kr26XTa10Emuy9nbsYmNrnSHM/CTv540FVH8ZINplZO";

fn auth(file: &str) -> BasicAuth {
    let users = Arc::new(Users::of_file("shop", file.as_bytes()));
    BasicAuth { challenge: basic_auth::challenge("x").unwrap(), users, satisfy: Satisfy::All }
}

fn headers(values: &[&'static str]) -> HeaderMap {
    values.iter().map(|value| (header::AUTHORIZATION, HeaderValue::from_static(value))).collect()
}

const RIGHT: &str = "Basic Ym9iOnNlY3JldA==";
const WRONG: &str = "Basic Ym9iOndyb25n";
const UNKNOWN: &str = "Basic ZXZlOnNlY3JldA==";

#[tokio::test]
async fn only_the_password_of_a_user_opens() {
    let passwords = Passwords::new(2);
    let (quick, slow) = (auth("bob:{PLAIN}secret"), auth(&format!("bob:{BCRYPT}")));
    for (values, want) in [
        (&[RIGHT][..], Verdict::Right),
        (&[WRONG], Verdict::Wrong),
        (&[UNKNOWN], Verdict::Wrong),
        (&[], Verdict::Wrong),
        (&["Basic "], Verdict::Wrong),
        // Which of two a backend or a log would read is not known.
        (&[RIGHT, WRONG], Verdict::Wrong),
        (&[RIGHT, RIGHT], Verdict::Wrong),
    ] {
        assert_eq!(passwords.at_once(&quick, &headers(values)), Some(want), "{values:?}");
        assert_eq!(passwords.verify(&slow, &headers(values)).await, want, "{values:?}");
    }
    assert_eq!(passwords.at_once(&auth(""), &headers(&[RIGHT])), Some(Verdict::Wrong), "nobody is known");
}

/// A password that was changed, or a user who is gone, is so at once.
#[tokio::test]
async fn what_was_verified_opens_for_the_same_hash_alone() {
    let passwords = Passwords::new(2);
    let slow = auth(&format!("bob:{BCRYPT}"));
    assert_eq!(passwords.at_once(&slow, &headers(&[RIGHT])), None);
    assert_eq!(passwords.verify(&slow, &headers(&[RIGHT])).await, Verdict::Right);
    assert_eq!(passwords.at_once(&slow, &headers(&[RIGHT])), Some(Verdict::Right));
    assert_eq!(passwords.at_once(&slow, &headers(&[WRONG])), None);
    assert_eq!(passwords.at_once(&auth("ann:{SHA}x"), &headers(&[RIGHT])), Some(Verdict::Wrong));
    let changed = auth("bob:$2y$05$0000000000000000000000uTzzSdkqMfMDbsrrb4aZMrKw0ZqyAWe");
    assert_eq!(passwords.at_once(&changed, &headers(&[RIGHT])), None);
    assert_eq!(passwords.verify(&changed, &headers(&[RIGHT])).await, Verdict::Wrong);
}

/// A client that leaves must not make room for more work than there are threads for.
#[test]
fn a_request_that_is_given_up_keeps_its_turn_until_its_work_is_done() {
    let runtime = Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        // Its work waits for the only thread.
        let (go, wait) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || wait.recv());
        let (passwords, slow) = (Passwords::new(2), auth(&format!("bob:{BCRYPT}")));
        let headers = headers(&[WRONG]);
        let mut given_up = Box::pin(passwords.verify(&slow, &headers));
        assert!(futures_util::poll!(&mut given_up).is_pending());
        drop(given_up);
        let mut next = Box::pin(passwords.turns.take(&slow.users.owner));
        assert!(futures_util::poll!(&mut next).is_pending());
        drop(next);
        drop(go);
        while passwords.turns.take(&slow.users.owner).await.is_none() {}
    });
}
