//! pingora's headers as the filters of a route change them.

use http::{HeaderName, HeaderValue};
use pingora_http::{RequestHeader, ResponseHeader};
use portcullis_routing::HeadersMut;

/// A request's headers.
#[derive(Debug)]
pub(crate) struct Request<'r>(pub(crate) &'r mut RequestHeader);

/// A response's headers.
#[derive(Debug)]
pub(crate) struct Response<'r>(pub(crate) &'r mut ResponseHeader);

// Setting a header fails only past 32768 headers; pingora's parser stops at 256.
macro_rules! headers_mut {
    ($type:ident) => {
        impl HeadersMut for $type<'_> {
            fn set(&mut self, name: &HeaderName, value: &HeaderValue) {
                let _ = self.0.insert_header(name, value.clone());
            }

            fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
                let _ = self.0.append_header(name, value.clone());
            }

            fn remove(&mut self, name: &HeaderName) {
                self.0.remove_header(name);
            }
        }
    };
}

headers_mut!(Request);
headers_mut!(Response);
