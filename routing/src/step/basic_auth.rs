//! Basic authentication (RFC 7617).

use std::{fmt, sync::Arc};

use http::HeaderValue;

use super::Satisfy;

/// The users that have access to a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicAuth {
    /// The value of `WWW-Authenticate` of the challenge.
    pub challenge: HeaderValue,
    /// The users.
    pub users: Arc<Users>,
    /// How this check is combined with the other checks of the rule.
    pub satisfy: Satisfy,
}

/// Users with the hashes of their passwords, as `htpasswd` writes them.
#[derive(Clone, PartialEq, Eq)]
pub struct Users {
    /// The namespace of the users. The computation of hashes is shared fairly between namespaces.
    pub owner: Box<str>,
    /// Sorted by name.
    users: Box<[User]>,
}

/// A user's name, and the hash of the password.
type User = (Box<[u8]>, Box<str>);

/// A realm that cannot be sent in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has characters other than letters, digits and signs, or one of \" \\ $")]
pub struct InvalidRealm;

/// Writes the challenge for a realm.
///
/// # Errors
/// [`InvalidRealm`] if the realm could end its quotes, or has control characters.
pub fn challenge(realm: &str) -> Result<HeaderValue, InvalidRealm> {
    let is_valid = |byte: u8| matches!(byte, b' '..=b'~') && !b"\"\\$".contains(&byte);
    let value = realm.bytes().all(is_valid).then(|| format!("Basic realm=\"{realm}\""));
    value.and_then(|value| HeaderValue::try_from(value).ok()).ok_or(InvalidRealm)
}

impl Users {
    /// Reads a file of `htpasswd` as nginx does: `name:hash`, and what follows another colon is a comment. The first of
    /// equal names applies.
    pub fn of_file(owner: &str, file: &[u8]) -> Self {
        let lines = file.split(|byte| matches!(byte, b'\n' | b'\r'));
        Self::new(owner, lines.filter(|line| !line.starts_with(b"#")).filter_map(user))
    }

    /// Each name with its hash.
    pub fn of_map<'m>(owner: &str, map: impl Iterator<Item = (&'m str, &'m [u8])>) -> Self {
        let first_line =
            |hash: &'m [u8]| hash.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
        let entries = map.map(|(name, hash)| [name.as_bytes(), b":", first_line(hash)].concat());
        let entries: Vec<_> = entries.collect();
        Self::new(owner, entries.iter().filter_map(|entry| user(entry)))
    }

    fn new<'u>(owner: &str, users: impl Iterator<Item = (&'u [u8], &'u str)>) -> Self {
        let mut users: Vec<User> = users.map(|(name, hash)| (name.into(), hash.into())).collect();
        // Stable: the first of equal names stays the first.
        users.sort_by(|(one, _), (other, _)| one.cmp(other));
        users.dedup_by(|(later, _), (first, _)| later == first);
        Self { owner: owner.into(), users: users.into() }
    }

    /// The hash of a user's password.
    pub fn hash_of(&self, name: &[u8]) -> Option<&str> {
        let at = self.users.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&self.users[at].1)
    }

    /// The number of users.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there are no users, so that all requests are rejected.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

/// Name and hash of a line. Hashes are ASCII; an empty name or hash belongs to no user.
fn user(line: &[u8]) -> Option<(&[u8], &str)> {
    let mut parts = line.split(|byte| *byte == b':');
    let (name, hash) = (parts.next()?, parts.next()?);
    let hash = std::str::from_utf8(hash)
        .ok()
        .filter(|hash| hash.bytes().all(|b| b.is_ascii_graphic() || b == b' '))?;
    (!name.is_empty() && !hash.is_empty()).then_some((name, hash))
}

/// Neither names nor hashes.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} users of {}", self.users.len(), self.owner)
    }
}

impl fmt::Display for BasicAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "password of {:?}", self.users)?;
        f.write_str(if self.satisfy == Satisfy::Any { " or another check" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_nginx_reads_it() {
        let file = b"# comment\nbob:{SHA}a:extra\n\nann:{PLAIN}b\r\nbob:second\n:c\nnobody:\nno line\nraw\xff:d\nlast:e";
        let users = Users::of_file("n", file);
        for (name, want) in [
            (&b"bob"[..], Some("{SHA}a")),
            (b"ann", Some("{PLAIN}b")),
            (b"raw\xff", Some("d")),
            (b"last", Some("e")),
            (b"", None),
            (b"nobody", None),
            (b"no line", None),
            (b"# comment", None),
            (b"Bob", None),
        ] {
            assert_eq!(users.hash_of(name), want, "{name:?}");
        }
    }

    /// A value with a line break must not add another user.
    #[test]
    fn a_map_has_one_user_for_each_key() {
        let map = [("auth", &b"bob:{PLAIN}x"[..]), ("ann", b"{PLAIN}a\nroot:{PLAIN}x"), ("a:b", b"{PLAIN}x")];
        let users = Users::of_map("n", map.into_iter());
        assert_eq!(users.hash_of(b"auth"), Some("bob"), "no hash at all");
        assert_eq!(users.hash_of(b"ann"), Some("{PLAIN}a"));
        assert_eq!(
            (users.hash_of(b"bob"), users.hash_of(b"root"), users.hash_of(b"a:b")),
            (None, None, None)
        );
    }

    #[test]
    fn nothing_of_users_is_printed() {
        let users = Users::of_file("shop", b"bob:{PLAIN}secret");
        assert_eq!(format!("{users:?}"), "1 users of shop");
    }

    /// The realm is quoted in a header.
    #[test]
    fn a_realm_does_not_end_its_quotes() {
        assert_eq!(challenge("Staff only (x)").unwrap(), "Basic realm=\"Staff only (x)\"");
        assert_eq!(challenge("").unwrap(), "Basic realm=\"\"");
        for realm in ["a\"b", "a\\", "$host", "a\r\nSet-Cookie: x", "\u{e4}", "a\0"] {
            assert_eq!(challenge(realm), Err(InvalidRealm), "{realm:?}");
        }
    }
}
