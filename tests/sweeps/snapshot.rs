//! The committed description is the one the platform serves.

use stint_tests::{Document, bless, test};

#[test]
fn the_committed_description_is_fresh() {
    test(async |t| {
        let document = Document::of(t).await;
        let served = serde_json::to_string_pretty(&document.whole).unwrap() + "\n";
        bless::matches("openapi.json", &served);
    });
}
