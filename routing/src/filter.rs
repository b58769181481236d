//! What a rule does to its requests and responses. Each filter has its file: its type and how it is applied.

use std::ops::{Deref, DerefMut};

pub mod cors;
pub mod headers;
pub mod mirror;
pub mod redirect;
pub mod rewrite;

pub use cors::Cors;
pub use headers::{HeaderModifier, HeadersMut};
pub use mirror::Mirror;
pub use redirect::{Origin, Redirect};
pub use rewrite::{HostRewrite, PathRewrite, UrlRewrite};

/// The filters of a rule, or of one of its backends; read and changed as the [`FilterSet`] that they are. Most
/// rules have none and most backends too, so none takes no room.
#[derive(Clone, Debug, Default)]
pub struct Filters(Option<Box<FilterSet>>);

/// One filter of each kind at most, but for the mirrors.
#[derive(Clone, Debug, Default)]
pub struct FilterSet {
    /// RequestHeaderModifier.
    pub request_headers: Option<HeaderModifier>,
    /// ResponseHeaderModifier.
    pub response_headers: Option<HeaderModifier>,
    /// RequestRedirect: the rule answers by itself.
    pub redirect: Option<Redirect>,
    /// URLRewrite.
    pub rewrite: Option<UrlRewrite>,
    /// RequestMirror, as often as it stands there.
    pub mirrors: Vec<Mirror>,
    /// CORS.
    pub cors: Option<Cors>,
}

static NONE: FilterSet = FilterSet {
    request_headers: None,
    response_headers: None,
    redirect: None,
    rewrite: None,
    mirrors: Vec::new(),
    cors: None,
};

impl FilterSet {
    fn is_empty(&self) -> bool {
        let Self { request_headers, response_headers, redirect, rewrite, mirrors, cors } = self;
        request_headers.is_none()
            && response_headers.is_none()
            && redirect.is_none()
            && rewrite.is_none()
            && mirrors.is_empty()
            && cors.is_none()
    }
}

impl From<FilterSet> for Filters {
    fn from(filters: FilterSet) -> Self {
        Self((!filters.is_empty()).then(|| Box::new(filters)))
    }
}

impl Deref for Filters {
    type Target = FilterSet;

    fn deref(&self) -> &FilterSet {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Filters {
    fn deref_mut(&mut self) -> &mut FilterSet {
        self.0.get_or_insert_default()
    }
}
