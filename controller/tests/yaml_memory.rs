//! A file of many documents is read with the memory of one parsed document at a time.

use std::fmt::Write as _;

use portcullis_controller::yaml::documents;

const DOCUMENTS: usize = 1_000;

#[test]
fn a_large_file_takes_the_memory_of_one_document_at_a_time() {
    let mut text = String::new();
    for number in 0..DOCUMENTS {
        let _ = writeln!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{number}, namespace: shop}}\nspec: {{ports: [{{port: 80}}]}}"
        );
    }
    let read = |limit| {
        let info = allocation_counter::measure(|| {
            assert_eq!(documents(&text, "in.yaml").take(limit).filter(|d| d.content.is_ok()).count(), limit);
        });
        info.bytes_max
    };
    let (one, all) = (read(1), read(DOCUMENTS));
    assert!(all < one * 2, "one document takes {one} bytes, {DOCUMENTS} take {all}");
}
