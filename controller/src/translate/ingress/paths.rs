//! The paths of a host: which Ingress has each, and how it is matched.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use portcullis_routing::{HostPattern, RouteId, path::of_ingress};

use crate::{
    ir::{
        Ingress, ObjectKey,
        ingress::{IngressPath, PathKind},
    },
    status::Cause,
};

/// The path that answers what no other path of the host matches, whether an Ingress names it or not.
pub(super) const ROOT: &str = "/";

/// Why an Ingress has a path that several Ingresses request.
const BY_AGE: &str = "which takes precedence (by age, then by name)";

/// A path that an Ingress asks for and another one has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Loss {
    /// Who does not get it.
    loser: ObjectKey,
    /// Who has it; the loser itself where the path stands twice in it.
    winner: ObjectKey,
    host: HostPattern,
    /// `None` for what no path matches.
    path: Option<Key>,
}

/// A path by its kind and form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(PathKind, Box<str>);

/// A path at the place where it is matched.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// The place of its Ingress among those of the host.
    pub(super) ingress: usize,
    /// Its place in the Ingress, and what it says; `None` for what no path matches.
    pub(super) path: Option<(usize, &'a IngressPath)>,
    /// The path as ingress-nginx writes it in its configuration: a prefix stands there twice, with a slash at its end and
    /// without.
    pub(super) text: Box<str>,
    pub(super) matched: Matched,
}

/// How a path is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Matched {
    Exact,
    Prefix,
    /// A prefix with a slash at its end, without it: answered with a redirect to the prefix.
    WithoutSlash,
    /// Everything, at a host that is redirected to another name of it.
    OtherHost,
    /// A regular expression from the start, with its rank: the greatest that matches takes a request.
    Regex(u32),
}

impl Place<'_> {
    /// Whether it is what no path matches.
    pub(super) fn is_rest(&self) -> bool {
        self.path.is_none() && self.matched != Matched::OtherHost
    }
}

/// The paths of an Ingress at a host that it has.
struct Owned<'a> {
    /// Whether the paths are regular expressions (`use-regex`).
    use_regex: bool,
    /// Each with its place among all paths of the Ingress.
    paths: Vec<(usize, &'a IngressPath)>,
}

impl Loss {
    /// The Ingress that lost.
    pub(super) fn of(&self) -> ObjectKey {
        self.loser.clone()
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        let is_duplicate = self.path.is_some() && self.loser == self.winner;
        (!is_duplicate).then_some(Cause::Precedence)
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { loser, winner, host, path } = self;
        match path {
            None => {
                let at = match host {
                    HostPattern::Any => "requests for hosts in no Ingress are".to_owned(),
                    host => format!("requests for host {host} that match no path are"),
                };
                write!(f, "its default backend is not used: {at} answered by {winner}, {BY_AGE}")
            }
            Some(path) if loser == winner => {
                write!(f, "{path} of host {host} is duplicated; the first one is served")
            }
            Some(path) => write!(f, "{path} of host {host} is answered by {winner}, {BY_AGE}"),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&named(self.0, &self.1))
    }
}

/// A path as messages name it.
pub(super) fn named(kind: PathKind, text: &str) -> String {
    match kind {
        PathKind::Exact => format!("exact {text}"),
        PathKind::Prefix if text.is_empty() => "prefix /".into(),
        PathKind::Prefix => format!("prefix {text}"),
    }
}

/// Whether the paths of a host are regular expressions. All of them are if one of its Ingresses has `use-regex`, or a
/// `rewrite-target` that differs from one of its paths.
///
/// `ingresses` are those of the host, the oldest first: its annotations hold for what no path matches, too.
pub(crate) fn are_regex(ingresses: &[&Ingress], host: &HostPattern) -> bool {
    let mut with_rules =
        ingresses.iter().filter(|ingress| !ingress.rules.of_host(host).is_empty()).peekable();
    let oldest = with_rules.peek().map(|ingress| ingress.meta.key.clone());
    with_rules.any(|ingress| {
        let rewrite = &ingress.annotations.rewrite;
        let differs = |target: &str| {
            let is_oldest = oldest.as_ref() == Some(&ingress.meta.key);
            let paths = paths_of(ingress, host);
            (is_oldest && target != ROOT)
                || paths.flat_map(|(_, path)| texts(path)).any(|text| *text != *target)
        };
        rewrite.use_regex || rewrite.target.as_deref().is_some_and(differs)
    })
}

pub(super) fn paths_of<'a>(
    ingress: &'a Ingress,
    host: &HostPattern,
) -> impl Iterator<Item = (usize, &'a IngressPath)> + use<'a> {
    let rules = ingress.rules.of_host(host).into_iter();
    rules.flat_map(|(first, rule)| rule.paths.iter().enumerate().map(move |(i, path)| (first + i, path)))
}

/// The texts of a path in the configuration of ingress-nginx.
fn texts(path: &IngressPath) -> impl Iterator<Item = Box<str>> {
    let with_slash =
        (path.kind == PathKind::Prefix && !path.text.ends_with('/')).then(|| slashed(&path.text));
    [path.text.clone()].into_iter().chain(with_slash)
}

fn slashed(text: &str) -> Box<str> {
    format!("{text}/").into()
}

/// The places of a host, and the paths that Ingresses lost to older ones.
pub(super) struct All<'a> {
    pub(super) places: Vec<Place<'a>>,
    pub(super) losses: BTreeSet<Loss>,
}

/// Where the paths of all Ingresses of a host are matched.
pub(super) fn all<'a>(ingresses: &[&'a Ingress], host: &HostPattern) -> All<'a> {
    let (owned, losses) = settle(ingresses, host);
    let with_rules = |ingress: &&Ingress| !ingress.rules.of_host(host).is_empty();
    // Requests that match no path are handled by the oldest Ingress with rules for the host. Hosts that no Ingress names are
    // handled by the oldest Ingress that has only a default backend.
    let first = ingresses.iter().position(with_rules).filter(|_| *host != HostPattern::Any);
    All { places: places(&owned, first, are_regex(ingresses, host)), losses }
}

/// Decides which Ingress gets each path of a host: the oldest one that asks for it.
fn settle<'a>(ingresses: &[&'a Ingress], host: &HostPattern) -> (Vec<Owned<'a>>, BTreeSet<Loss>) {
    let (mut owners, mut losses) = (BTreeMap::new(), BTreeSet::new());
    let owned = ingresses.iter().map(|ingress| {
        let key = &ingress.meta.key;
        let paths = paths_of(ingress, host).filter(|(_, path)| match owners.entry(Key::of(path)) {
            Entry::Vacant(free) => {
                free.insert(key.clone());
                true
            }
            Entry::Occupied(owner) => {
                let (path, winner) = (Some(owner.key().clone()), owner.get().clone());
                losses.insert(Loss { loser: key.clone(), winner, host: host.clone(), path });
                false
            }
        });
        Owned { use_regex: ingress.annotations.rewrite.use_regex, paths: paths.collect() }
    });
    (owned.collect(), losses)
}

impl Key {
    /// The path of what no other path matches.
    pub(super) fn root() -> Self {
        Self(PathKind::Prefix, "".into())
    }

    pub(super) fn of(path: &IngressPath) -> Self {
        let form = of_ingress(&path.text).map_or_else(|| path.text.clone(), |form| form.into_owned().into());
        match path.kind {
            PathKind::Exact => Self(PathKind::Exact, form),
            PathKind::Prefix => Self(PathKind::Prefix, form.trim_end_matches('/').into()),
        }
    }
}

/// The default backends that answer nothing at a host, since an older Ingress answers what no path matches. `answers` says
/// whether an Ingress would.
pub(super) fn lost_defaults(
    ingresses: &[&Ingress],
    host: &HostPattern,
    answers: impl Fn(&Ingress) -> bool,
) -> Vec<Loss> {
    let mut candidates = ingresses.iter().filter(|ingress| answers(ingress));
    let Some(winner) = candidates.next() else { return Vec::new() };
    let lost = |loser: &&Ingress| Loss {
        loser: loser.meta.key.clone(),
        winner: winner.meta.key.clone(),
        host: host.clone(),
        path: None,
    };
    candidates.filter(|loser| loser.default_backend.is_some()).map(lost).collect()
}

/// The place of a host without rules of its own that is redirected to another name of it.
pub(super) fn redirected(ingresses: &[&Ingress], host: &HostPattern) -> Option<Place<'static>> {
    let ingress = ingresses.iter().position(|ingress| ingress.redirected_host(host).is_some())?;
    Some(Place { ingress, path: None, text: ROOT.into(), matched: Matched::OtherHost })
}

/// Where the paths of a host are matched. `first` is the Ingress that answers what none of them matches, if one does.
fn places<'a>(owned: &[Owned<'a>], first: Option<usize>, is_regex: bool) -> Vec<Place<'a>> {
    let all = || {
        let owned = owned.iter().enumerate();
        owned.flat_map(|(ingress, owned)| owned.paths.iter().map(move |path| (ingress, *path)))
    };
    let exact: BTreeSet<_> = all()
        .filter(|(_, (_, path))| path.kind == PathKind::Exact)
        .map(|(_, (_, path))| &*path.text)
        .collect();
    let has_root = all().any(|(_, (_, path))| path.kind == PathKind::Prefix && &*path.text == ROOT);
    let mut places: Vec<_> = all()
        .flat_map(|(ingress, (index, path))| {
            let matched = match (is_regex, owned[ingress].use_regex) {
                (true, true) => vec![(path.text.clone(), Matched::Regex(0))],
                (true, false) => as_regexes(path, exact.contains(&*path.text)),
                (false, _) => as_paths(path, &exact),
            };
            let place = move |(text, matched)| Place { ingress, path: Some((index, path)), text, matched };
            matched.into_iter().map(place)
        })
        .collect();
    if let Some(first) = first.filter(|_| !has_root) {
        let matched = if is_regex { Matched::Regex(0) } else { Matched::Prefix };
        places.push(Place { ingress: first, path: None, text: ROOT.into(), matched });
    }
    if is_regex {
        rank(&mut places);
    }
    places
}

/// The places of a path.
fn as_paths(path: &IngressPath, exact: &BTreeSet<&str>) -> Vec<(Box<str>, Matched)> {
    match path.kind {
        PathKind::Exact => vec![(path.text.clone(), Matched::Exact)],
        PathKind::Prefix => {
            let mut places = vec![(path.text.clone(), Matched::Prefix)];
            let without =
                path.text.strip_suffix('/').filter(|text| !text.is_empty() && !exact.contains(text));
            places.extend(without.map(|text| (text.into(), Matched::WithoutSlash)));
            places
        }
    }
}

/// The same on a host of regular expressions: a prefix is there with a slash at its end, and, unless the host has an exact
/// path of that text, without it.
fn as_regexes(path: &IngressPath, has_exact: bool) -> Vec<(Box<str>, Matched)> {
    let regex = |text: Box<str>| (text, Matched::Regex(0));
    match path.kind {
        PathKind::Exact => vec![regex(path.text.clone())],
        PathKind::Prefix if path.text.ends_with('/') => vec![regex(path.text.clone())],
        PathKind::Prefix if has_exact => vec![regex(slashed(&path.text))],
        PathKind::Prefix => vec![regex(slashed(&path.text)), regex(path.text.clone())],
    }
}

/// Ranks regular expressions as ingress-nginx sorts them: by length, then by text; of equal ones, the oldest.
fn rank(places: &mut [Place<'_>]) {
    places.sort_by(|a, b| (a.text.len(), &a.text).cmp(&(b.text.len(), &b.text)).reverse());
    let count = u32::try_from(places.len()).unwrap_or(u32::MAX);
    for (place, rank) in places.iter_mut().zip((1..=count).rev()) {
        place.matched = Matched::Regex(rank);
    }
}

/// The Ingress as rules name it.
pub(super) fn route_id(ingress: &Ingress) -> RouteId {
    RouteId {
        kind: portcullis_routing::RouteKind::Ingress,
        namespace: ingress.meta.namespace().into(),
        name: ingress.meta.name().into(),
    }
}
