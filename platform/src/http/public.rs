//! A body from someone who has no key yet.

use std::net::IpAddr;

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::{body, guard};
use crate::app::App;
use crate::error::Error;

/// A body from someone who has no key yet: checked like any other, and with where it came from.
pub struct PublicBody<T> {
    /// Where the request came from.
    pub address: IpAddr,
    /// What was sent.
    pub body: T,
}

impl<T: DeserializeOwned + Send> FromRequest<App> for PublicBody<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self, Error> {
        let address = guard::address(&request);
        let (parts, stream) = request.into_parts();
        let bytes = body::read(&parts.headers, stream, app.config.limits.body_bytes_max).await?;
        Ok(Self {
            address,
            body: body::parse(&bytes)?,
        })
    }
}
