//! What becomes of the Ingresses of ingress-nginx here, before anything is moved.

pub use crate::objects::known_annotations::{Annotation, Outcome, annotations};
