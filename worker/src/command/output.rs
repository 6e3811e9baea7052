//! What a command gives back.

use std::path::Path;

use stint_protocol::Json;
use tokio::io::AsyncReadExt as _;

use crate::handler::Failure;
use crate::report::OUTPUT_BYTES_MAX;

/// A line of stdout that is the output.
pub(super) enum Output {
    Json(Json),
    /// It looks like JSON, but is larger than an output may be.
    TooLarge,
}

/// The output that the command has written into its file, if it has.
pub(super) async fn from_file(path: &Path) -> Result<Option<Json>, Failure> {
    // The command may have put anything there; a pipe or a device would never end.
    match tokio::fs::symlink_metadata(path).await {
        Ok(facts) if facts.is_file() => {}
        Ok(_) => return Err(invalid("STINT_OUTPUT_FILE is not a plain file")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(invalid(&format!(
                "STINT_OUTPUT_FILE cannot be read: {error}"
            )));
        }
    }
    let mut text = Vec::new();
    let limit = u64::try_from(OUTPUT_BYTES_MAX).expect("a small number") + 1;
    let file = tokio::fs::File::open(path).await?;
    file.take(limit).read_to_end(&mut text).await?;
    if text.len() > OUTPUT_BYTES_MAX {
        return Err(too_large());
    }
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8(text)
        .map_err(|_| invalid("what was written to STINT_OUTPUT_FILE is not UTF-8"))?;
    let json = Json::from_text(text.trim().to_owned());
    json.map(Some).map_err(|error| {
        invalid(&format!(
            "what was written to STINT_OUTPUT_FILE is not JSON: {error}"
        ))
    })
}

pub(super) fn too_large() -> Failure {
    Failure::new(format!(
        "the output has more than the {OUTPUT_BYTES_MAX} bytes it may have; \
         store it elsewhere and return where it is"
    ))
    .category("output_too_large")
    .recoverable(false)
}

fn invalid(message: &str) -> Failure {
    Failure::new(message).category("invalid_output")
}
