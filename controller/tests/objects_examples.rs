//! What is shown to people works as it stands.

use std::path::Path;

use portcullis_controller::{Settings, check::check};

#[test]
fn every_example_is_accepted() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut checked = 0;
    // Each by itself: they are applied one at a time, and may have objects of the same name.
    for example in std::fs::read_dir(&examples).unwrap() {
        let path = example.unwrap().path();
        let report = check(std::slice::from_ref(&path), &Settings::default());
        assert!(report.is_ok(), "{report}");
        checked += report.objects.len();
    }
    assert!(checked > 0, "there are no examples in {}", examples.display());
}
