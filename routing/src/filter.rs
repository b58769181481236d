//! What a rule does to its requests and responses. Each filter has its file: its type and how it is applied.

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

/// The filters of a rule, or of one of its backends. Each kind but the mirror stands at most once in a rule.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    /// RequestHeaderModifier.
    pub request_headers: Option<HeaderModifier>,
    /// ResponseHeaderModifier.
    pub response_headers: Option<HeaderModifier>,
    /// RequestRedirect: the rule answers by itself.
    pub redirect: Option<Redirect>,
    /// URLRewrite.
    pub rewrite: Option<UrlRewrite>,
    /// RequestMirror, as often as it stands there.
    pub mirrors: Box<[Mirror]>,
    /// CORS.
    pub cors: Option<Cors>,
}
