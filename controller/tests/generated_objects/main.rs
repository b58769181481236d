//! Any object that the schemas of the CRDs admit is read and translated without a panic, and its status says of it all
//! that the Gateway API demands, in a form that the schemas admit, too.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod backdrop;
mod cases;
mod demands;
mod generate;
mod largest;
mod pattern;
mod pool;
mod rule;
mod schema;
mod validate;
mod world;

use std::path::Path;

use cases::{Case, Cases};
use portcullis_controller::{Bindings, Problem, Severity, status::Statuses};
use proptest::prelude::*;
use schema::GATEWAY_API_KINDS;
use world::{Source, World};

/// `GATEWAY_API_CRDS` is the directory `config/crd` of a release: its schemas are written to `testdata/schemas`.
#[test]
#[ignore = "needs the YAML of a release of the Gateway API"]
fn schemas_are_those_of_the_release() {
    let directory = std::env::var("GATEWAY_API_CRDS").unwrap();
    for kind in GATEWAY_API_KINDS {
        std::fs::write(schema::file(kind), schema::of_release(Path::new(&directory), kind)).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases_or(96), failure_persistence: None, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    /// What an API server takes, a folder takes, too; both read the same.
    #[test]
    fn admitted_objects_have_the_statuses_that_the_specification_demands(
        case in Cases { most: 14, are_lawful: true },
    ) {
        let folder = statuses_of(&case, Source::Folder)?;
        let api_server = statuses_of(&case, Source::ApiServer)?;
        // What a folder refuses for more than its schema says may cost an API server's object less.
        if case.objects.iter().any(|drawn| drawn.read().refused.is_some()) {
            return Ok(());
        }
        for (key, report) in folder.iter() {
            let of_api_server = api_server.get(key).map(|report| &report.status);
            prop_assert_eq!(Some(&report.status), of_api_server, "{} of a folder, and of an API server", key);
        }
        prop_assert_eq!(folder.iter().count(), api_server.iter().count());
    }

    #[test]
    fn so_have_those_that_break_rules(case in Cases { most: 14, are_lawful: false }) {
        statuses_of(&case, Source::Folder)?;
        statuses_of(&case, Source::ApiServer)?;
    }

    #[test]
    fn a_folder_refuses_what_an_api_server_refuses(case in Cases { most: 1, are_lawful: false }) {
        for drawn in &case.objects {
            let decoded = drawn.read();
            let errors: Vec<_> = decoded.problems.iter().filter(|p| p.severity == Severity::Error).collect();
            let faults = drawn.faults();
            prop_assert!(!drawn.is_admitted || errors.iter().all(|error| goes_further(error)), "refused: {errors:#?}");
            prop_assert!(!errors.is_empty() || faults.iter().all(|fault| is_unread(fault)), "not refused: {faults:#?}");
        }
    }
}

/// Whether an error is about what the schemas cannot say, or do not.
fn goes_further(error: &Problem) -> bool {
    let of_parameters = error.object.starts_with("GatewayParameters ");
    // An API server takes any text for a label, an operator or a value there.
    let of_labels = error.field.contains(".selector.match");
    // Their patterns are not about the whole text.
    let of_types = error.field.starts_with("spec.addresses[") && error.field.ends_with("].type");
    let of_protocols = error.field.starts_with("spec.listeners[") && error.field.ends_with("].protocol");
    // The schema of ListenerSets lacks the rule that a Gateway's has: filters are for HTTP and HTTPS alone.
    let of_filters = error.object.starts_with("ListenerSet ") && error.field.ends_with("].filters");
    of_parameters || of_labels || of_types || of_protocols || of_filters
}

/// Whether a fault is in a part that is not looked into: an API server leaves out what its CRDs do not know.
fn is_unread(fault: &str) -> bool {
    fault.contains(": has no field ")
}

/// The statuses of a case, which are checked.
fn statuses_of(case: &Case, source: Source) -> Result<Statuses, TestCaseError> {
    let world = World::of(case, source);
    let at_rest = world.full(None).statuses;
    demands::hold(&world, &at_rest)?;
    let running = world.full(Some(&Bindings::new())).statuses;
    demands::hold(&world, &running)?;
    prop_assert_eq!(&world.incremental(case.order), &running);
    Ok(at_rest)
}

fn cases_or(default: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
