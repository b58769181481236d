//! The kinds of hashes that nginx reads (`ngx_crypt`, and crypt(3) of its C library).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use crypt3_rs::crypt::{apr1, md5, unix};
use sha_crypt::{PasswordVerifier as _, ShaCrypt};
use sha1::{Digest as _, Sha1};
use subtle::ConstantTimeEq as _;

/// The highest bcrypt cost (base-2 logarithm of the rounds) that is computed: about two seconds. A hash with a higher cost
/// matches no password, so that one namespace cannot occupy the threads that hash for everybody.
const MAX_BCRYPT: u32 = 14;
/// The same for SHA crypt, in rounds.
const MAX_SHA_ROUNDS: u32 = 2_000_000;

const PLAIN: &str = "{PLAIN}";
const SHA: &str = "{SHA}";
const SALTED_SHA: &str = "{SSHA}";

/// Whether it costs no more than the rest of a request.
pub(super) fn is_quick(hash: &str) -> bool {
    [PLAIN, SHA, SALTED_SHA].iter().any(|kind| hash.starts_with(kind))
}

/// Whether the hash is of this password. One of a kind that is not known is of none.
#[expect(deprecated, reason = "no password is hashed anew with these")]
pub(super) fn verify(hash: &str, password: &[u8]) -> bool {
    if let Some(plain) = hash.strip_prefix(PLAIN) {
        return plain.as_bytes().ct_eq(password).into();
    }
    if let Some(text) = hash.strip_prefix(SALTED_SHA) {
        return is_sha1(text, password);
    }
    if let Some(text) = hash.strip_prefix(SHA) {
        return text.len() <= 28 && is_sha1(text, password);
    }
    let mut parts = hash.split('$');
    let (before, kind) = (parts.next(), parts.next());
    match (before, kind) {
        (Some(""), Some("2a" | "2b" | "2y")) => {
            let cost = parts.next().and_then(|cost| cost.parse().ok());
            cost.is_some_and(|cost: u32| cost <= MAX_BCRYPT)
                && bcrypt::verify(password, hash).unwrap_or(false)
        }
        (Some(""), Some("5" | "6")) => {
            let rounds = parts.next().and_then(|part| part.strip_prefix("rounds="));
            let is_affordable = rounds.is_none_or(|n| n.parse().is_ok_and(|n: u32| n <= MAX_SHA_ROUNDS));
            is_affordable && ShaCrypt::default().verify_password(password, hash).is_ok()
        }
        (Some(""), Some("apr1")) => {
            is_crypt(hash, apr1::hash_with(hash, password).ok().map(|hash| hash.to_string()))
        }
        (Some(""), Some("1")) => {
            is_crypt(hash, md5::hash_with(hash, password).ok().map(|hash| hash.to_string()))
        }
        (Some(_), None) if hash.len() == 13 => {
            is_crypt(hash, unix::hash_with(hash, password).ok().map(|hash| hash.to_string()))
        }
        _ => false,
    }
}

fn is_crypt(hash: &str, computed: Option<String>) -> bool {
    computed.is_some_and(|computed| computed.as_bytes().ct_eq(hash.as_bytes()).into())
}

/// SHA-1 of the password and the salt, and then the salt, in Base64.
fn is_sha1(text: &str, password: &[u8]) -> bool {
    let Ok(decoded) = STANDARD.decode(text) else { return false };
    let Some((digest, salt)) = decoded.split_at_checked(20) else { return false };
    let computed = Sha1::new().chain_update(password).chain_update(salt).finalize();
    computed.as_slice().ct_eq(digest).into()
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;

    #[test]
    fn each_kind_of_hash_is_of_its_password_alone() {
        for (hash, password) in [
            ("{PLAIN}secret", "secret"),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "secret"),
            ("$2y$05$.LgS0sSX43kr26XTa10Emuy9nbsYmNrnSHM/CTv540FVH8ZINplZO", "secret"),
            ("$1$saltsalt$9xy1btjgzLYfb7hivXtC//", "secret"),
            ("$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA", "secret"),
            ("$apr1$63JlJ2NH$smE0mnB5h3tDri0zkpWXt1", "password"),
            ("aZGJuE6EXrjEE", "test"),
            ("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "Hello world!"),
            (
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
                "Hello world!",
            ),
        ] {
            assert!(verify(hash, password.as_bytes()), "{hash}");
            for wrong in ["", "Secret", "secre", "secrets"] {
                assert!(!verify(hash, wrong.as_bytes()), "{hash}: {wrong}");
            }
        }
        let salted = [Sha1::digest(b"secretpepper").as_slice(), b"pepper"].concat();
        let salted = format!("{SALTED_SHA}{}", STANDARD.encode(salted));
        assert!(verify(&salted, b"secret") && !verify(&salted, b"secretpepper"));
    }

    /// A Secret is a tenant's text: nothing in it may open, panic, or be taken for a password.
    #[test]
    fn what_is_no_hash_is_of_no_password() {
        for hash in [
            "",
            "$",
            "$$",
            "$1$",
            "$1$salt",
            "$apr1$",
            "$2y$",
            "$2y$05$",
            "$2y$05$short",
            "$5$",
            "$6$rounds=x$a$b",
            "$6$rounds=1000$salt",
            "{SHA}",
            "{SHA}a",
            "{SSHA}",
            "{SSHA}AAAA",
            "{MD5}x",
            "secret",
            "!!!!!!!!!!!!!",
            "*0",
            "$9$a$b",
            "plain-text-13",
            "$1$salt$\u{7f}",
        ] {
            for password in ["", "secret", "a"] {
                assert!(!verify(hash, password.as_bytes()), "{hash}: {password}");
            }
        }
    }

    /// A tenant's hash must not hold a thread for hours.
    #[test]
    fn a_hash_that_costs_too_much_is_not_computed() {
        for (hash, password) in [
            ("$2y$31$.LgS0sSX43kr26XTa10Emuy9nbsYmNrnSHM/CTv540FVH8ZINplZO", "secret"),
            (
                "$6$rounds=999999999$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1",
                "x",
            ),
        ] {
            let (verified, verdict) = mpsc::channel();
            thread::spawn(move || verified.send(verify(hash, password.as_bytes())));
            // It would take hours.
            assert_eq!(verdict.recv_timeout(Duration::from_secs(60)), Ok(false), "{hash}");
        }
    }
}
