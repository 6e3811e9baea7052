//! Whether a key that was valid still is: for requests that last long, such as streams.

use super::store;
use crate::app::App;
use crate::error::Error;
use crate::http::Caller;

/// Whether the caller's key is neither revoked nor expired, and its tenant active.
///
/// # Errors
/// 503 when the database cannot be reached.
pub async fn is_still_valid(app: &App, caller: &Caller) -> Result<bool, Error> {
    let mut db = app.db.reader().await?;
    Ok(store::is_valid(&mut db, caller.tenant(), caller.identity().key).await?)
}
