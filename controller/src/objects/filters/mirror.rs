//! RequestMirror.

use crate::{
    ir::route::MirrorFilter,
    objects::{
        backend_object::object_ref,
        checks::{Checks, Path},
        wire::RequestMirror,
    },
};

pub(super) fn read(mirror: RequestMirror, checks: &mut Checks, at: &Path<'_>) -> MirrorFilter {
    let b = mirror.backend_ref;
    let at_backend = at.field("backendRef");
    let backend = object_ref(b.group, b.kind, b.name, b.namespace, b.port, checks, &at_backend);
    if mirror.percent.is_some() && mirror.fraction.is_some() {
        checks.error(at, "must not have both percent and fraction");
    }
    let (numerator, denominator) = match (mirror.percent, mirror.fraction) {
        (Some(percent), _) => {
            checks.range(percent.into(), 0, 100, &at.field("percent"));
            (percent, 100)
        }
        (None, Some(fraction)) => {
            let at = at.field("fraction");
            let denominator = fraction.denominator.unwrap_or(100);
            let max = i64::from(i32::MAX);
            checks.range(fraction.numerator.into(), 0, max, &at.field("numerator"));
            checks.range(denominator.into(), 1, max, &at.field("denominator"));
            checks.require(
                fraction.numerator <= denominator,
                &at,
                "must not be more than one: numerator > denominator",
            );
            (fraction.numerator, denominator)
        }
        (None, None) => (1, 1),
    };
    MirrorFilter {
        backend,
        numerator: numerator.try_into().unwrap_or_default(),
        denominator: denominator.try_into().unwrap_or(1),
    }
}
