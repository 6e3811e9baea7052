//! Files that are generated: compared with what they should be, or rewritten when `STINT_BLESS` is set.

use std::fs;
use std::path::Path;

/// Compares a file of the repository with what it should be. With `STINT_BLESS=1` it is rewritten instead.
///
/// # Panics
/// When it differs, or cannot be written.
pub fn matches(path: &str, wanted: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os("STINT_BLESS").is_some() {
        let folder = file.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder).expect("the repository can be written");
        fs::write(&file, wanted).expect("the repository can be written");
        return;
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    let differs = found
        .lines()
        .zip(wanted.lines())
        .position(|(found, wanted)| found != wanted)
        .unwrap_or_else(|| found.lines().count().min(wanted.lines().count()));
    assert!(
        found == wanted,
        "{path} is stale from line {}: run this test with STINT_BLESS=1 and review the difference",
        differs + 1
    );
}
