//! How the path of a request is read: the form that is matched, the bytes that are forwarded, and whether somebody else
//! could read another path in it.
//!
//! ```text
//! sent                   matched by routes        by Ingresses         forwarded
//! /a//%62                /a/b                     /a/b                 as sent
//! /a/..//%2e/b           /b                       /b                   /b; for Ingresses as sent
//! /a%2Fb%21              /a%2Fb%21                /a/b!                as sent
//! ```

mod form;

use std::{borrow::Cow, fmt};

pub(crate) use form::Escapes;
use form::{Features, Slashes, Written, is_plain, look, write};

/// Why a path is refused (400).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidPath {
    /// The path does not begin with `/`.
    NotAbsolute,
    /// A `%` is not followed by two hexadecimal digits, or a byte may not stand in a path.
    Malformed,
    /// Dot segments lead above the root, which nginx refuses.
    AboveRoot,
    /// Read with other escapes decoded, the path leads to another rule.
    Ambiguous,
}

impl InvalidPath {
    /// The text that says so to the client.
    pub fn why(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the path does not begin with '/'",
            Self::Malformed => "the path has an invalid character or percent-encoding",
            Self::AboveRoot => "the path is above the root",
            Self::Ambiguous => {
                "the path is ambiguous: with its percent-encoding decoded, it matches another rule"
            }
        }
    }
}

impl fmt::Display for InvalidPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why())
    }
}

impl std::error::Error for InvalidPath {}

/// Whose reading of a path counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// That of the Gateway API's routes (RFC 3986, section 6.2.2): encoded unreserved characters are decoded, dot
    /// segments removed, runs of slashes taken as one. All other escapes stay, in upper case; so `%2F` and `%5C` never
    /// become separators. `..` at the root stays at the root.
    Gateway,
    /// That of nginx for the hosts of Ingresses: everything is decoded, so that `%2F` is a slash, before dot segments are
    /// removed and runs of slashes are taken as one. The form is written encoded again, each path in one way.
    Ingress,
}

/// The path of a request target, checked. A path that is canonical as it was sent (nearly all are) takes no memory.
#[derive(Clone, Debug)]
pub struct RequestPath<'r> {
    sent: &'r str,
    features: Features,
    canonical: Cow<'r, str>,
}

/// A way to read a path that somebody else may take: with these escapes decoded besides those that the reading decodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    decoded: Escapes,
    /// Whether routes, too, are asked with the form of Ingresses.
    as_ingress: bool,
}

impl Reading {
    /// The escapes that are decoded beside those of unreserved characters.
    const fn decodes(self) -> Escapes {
        match self {
            Self::Gateway => Escapes::NONE,
            Self::Ingress => Escapes::SLASH.with(Escapes::RESERVED),
        }
    }
}

/// Brings a path that a route names to the form in which requests are matched ([`Reading::Gateway`]).
///
/// # Errors
/// As those of [`RequestPath::parse`].
pub fn canonicalise(path: &str) -> Result<Cow<'_, str>, InvalidPath> {
    RequestPath::parse(path).map(|path| path.canonical)
}

/// The form in which requests are matched with a path that an Ingress names ([`Reading::Ingress`]). As for nginx, each
/// character of it stands for itself, `%` too. `None` where no request has it: it does not begin with `/`, or has dot
/// segments or a run of slashes.
pub fn of_ingress(path: &str) -> Option<Cow<'_, str>> {
    let encoded = form::encode(path);
    let is_form = RequestPath::parse(&encoded)
        .is_ok_and(|read| read.read(Reading::Ingress).as_deref() == Ok(&*encoded));
    is_form.then_some(encoded)
}

/// Encodes a decoded path: what may not stand in a path, and `%`. Slashes stay.
pub fn encode(path: &str) -> Cow<'_, str> {
    form::encode(path)
}

/// Brings a path that a filter puts in place of the client's to the form in which it is sent: what may not stand in a path
/// is encoded and dot segments are removed, but slashes stay as they were written.
///
/// # Errors
/// As those of [`RequestPath::parse`].
pub fn replacement(path: &str) -> Result<Cow<'_, str>, InvalidPath> {
    let parsed = RequestPath::parse(path)?;
    Ok(match parsed.canonical {
        Cow::Borrowed(_) => parsed.canonical,
        Cow::Owned(_) => Cow::Owned(write(path, Escapes::NONE, Slashes::Keep).text),
    })
}

impl<'r> RequestPath<'r> {
    /// Reads the path of a request target (without its query). `*` (OPTIONS) is no path; its caller does not ask.
    ///
    /// Characters that clients send although they must not stand in a path (`"`, `<`, `>`, `^`, `` ` ``, `{`, `|`, `}` and
    /// what is not ASCII) are matched as if they were percent-encoded.
    ///
    /// # Errors
    /// [`InvalidPath`] for what readers of paths understand differently: control characters and space, raw or as `%00`,
    /// `\`, `?`, `#`, and a `%` without two hexadecimal digits.
    pub fn parse(sent: &'r str) -> Result<Self, InvalidPath> {
        if !sent.starts_with('/') {
            return Err(InvalidPath::NotAbsolute);
        }
        if is_plain(sent.as_bytes()) {
            return Ok(Self { sent, features: Features::default(), canonical: Cow::Borrowed(sent) });
        }
        let features = look(sent.as_bytes())?;
        if !features.any(Features::DIFFERS) {
            return Ok(Self { sent, features, canonical: Cow::Borrowed(sent) });
        }
        let Written { text, features: more } = write(sent, Escapes::NONE, Slashes::Merge);
        Ok(Self { sent, features: features.with(more), canonical: Cow::Owned(text) })
    }

    /// The path as it was sent.
    pub fn sent(&self) -> &'r str {
        self.sent
    }

    /// The form of [`Reading::Gateway`], which also stands for the path in logs.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The form that is matched.
    ///
    /// # Errors
    /// [`InvalidPath::AboveRoot`], of Ingresses alone.
    pub fn read(&self, reading: Reading) -> Result<Cow<'_, str>, InvalidPath> {
        let own = Variant { decoded: Escapes::NONE, as_ingress: false };
        self.form(reading, own).ok_or(InvalidPath::AboveRoot)
    }

    /// The path as a backend gets it where no filter replaces it: the client's own bytes, so that signatures hold. Towards
    /// the backends of routes, dot segments and encoded control characters give the canonical form.
    pub fn forwarded(&self, reading: Reading) -> &str {
        match reading {
            Reading::Gateway if self.features.any(Features::DOTS.with(Features::CONTROL)) => &self.canonical,
            Reading::Gateway | Reading::Ingress => self.sent,
        }
    }

    /// The path as a `Location` names it: [`forwarded`](Self::forwarded), but valid as a URI.
    pub fn location(&self, reading: Reading) -> &str {
        if self.features.any(Features::UNENCODED) { &self.canonical } else { self.forwarded(reading) }
    }

    /// The form that is matched in a variant of a reading; `None` where it leads above the root.
    ///
    /// What others may decode is what they are sent. Of a route that is the canonical form where the path has dot
    /// segments; and where it has none, the canonical form has the same variants.
    pub(crate) fn form(&self, reading: Reading, variant: Variant) -> Option<Cow<'_, str>> {
        let written = match if variant.as_ingress { Reading::Ingress } else { reading } {
            Reading::Gateway if variant.decoded == Escapes::NONE => {
                return Some(Cow::Borrowed(&self.canonical));
            }
            Reading::Gateway => write(&self.canonical, variant.decoded, Slashes::Merge),
            Reading::Ingress => {
                let decoded = Reading::Ingress.decodes().with(variant.decoded);
                if !self.features.escapes().any(decoded) {
                    return (!self.features.any(Features::ABOVE_ROOT))
                        .then_some(Cow::Borrowed(&self.canonical));
                }
                write(self.sent, decoded, Slashes::Merge)
            }
        };
        (!written.features.any(Features::ABOVE_ROOT)).then_some(Cow::Owned(written.text))
    }

    /// The variants that have to lead to the same rule; none for a path without such escapes.
    ///
    /// `gateways` and `ingresses` say whether the listeners that are asked are of these.
    pub(crate) fn variants(&self, gateways: bool, ingresses: bool) -> impl Iterator<Item = Variant> + use<> {
        let there = self.features.escapes();
        // What Ingresses decode anyway makes no difference among them.
        let differing = if gateways { there } else { there.and(Escapes::BACKSLASH) };
        let decoded = differing.subsets().map(|decoded| Variant { decoded, as_ingress: false });
        // Where both are asked, routes have to say the same of the path as Ingresses read it.
        let mixed = gateways && ingresses && there.any(Reading::Ingress.decodes());
        decoded.chain(mixed.then_some(Variant { decoded: Escapes::NONE, as_ingress: true }))
    }
}

#[cfg(test)]
pub(crate) mod tests;
