//! Path and query parameters, refused in the envelope when they do not fit.

use axum::extract::FromRequestParts;
use http::request::Parts;
use protocol::ErrorCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::app::App;
use crate::error::{Error, Refused};

/// The parameters in the path.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        match axum::extract::Path::<T>::from_request_parts(parts, app).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(Refused::new(
                ErrorCode::ValidationError,
                format!(
                    "the path {} does not fit: {}",
                    parts.uri.path(),
                    rejection.body_text()
                ),
            )
            .hint("ids are UUIDs, as the platform returned them")
            .into()),
        }
    }
}

/// The parameters after the question mark. Unknown ones are refused by `deny_unknown_fields`.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        if parts.uri.query().is_some_and(has_nul) {
            return Err(Error::invalid(
                "a query parameter contains the character NUL",
            ));
        }
        match axum::extract::Query::<T>::from_request_parts(parts, app).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(Refused::new(
                ErrorCode::ValidationError,
                format!("the query parameters do not fit: {}", rejection.body_text()),
            )
            .hint("the parameters of every route are listed at /docs")
            .into()),
        }
    }
}

/// The parts of a list that is written with commas; none when the parameter is absent.
pub fn csv(text: Option<&str>) -> Option<Vec<String>> {
    text.map(|text| {
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    })
}

/// Like [`csv`], for words of a closed set.
///
/// # Errors
/// 400 that names the words that would do.
pub fn csv_words<T>(parameter: &str, text: Option<&str>) -> Result<Option<Vec<T>>, Error>
where
    T: std::str::FromStr<Err = protocol::UnknownWord>,
{
    csv(text)
        .map(|words| {
            words
                .iter()
                .map(|word| {
                    word.parse::<T>()
                        .map_err(|unknown| Error::invalid(format!("{parameter}: {unknown}")))
                })
                .collect()
        })
        .transpose()
}

fn has_nul(query: &str) -> bool {
    query.contains("%00")
}

/// Which page of a list.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// The number of the page; 1 unless given.
    #[param(minimum = 1, maximum = 100_000)]
    page: Option<i64>,
    /// How many things a page has, 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    per_page: Option<i64>,
}

/// Things on a page at most.
const PER_PAGE_MAX: i64 = 100;
/// The last page that can be asked for: beyond, a filter finds things sooner than counting does.
const PAGE_MAX: i64 = 100_000;

impl PageQuery {
    /// Takes page parameters that stand among others.
    ///
    /// # Errors
    /// 400 when one is out of range.
    pub fn of(page: Option<i64>, per_page: Option<i64>) -> Result<Self, Error> {
        let query = Self { page, per_page };
        query.check()?;
        Ok(query)
    }

    /// Refuses a page that cannot be.
    ///
    /// # Errors
    /// 400 that names the range.
    pub fn check(&self) -> Result<(), Error> {
        if !(1..=PAGE_MAX).contains(&self.page()) {
            return Err(Error::invalid(format!(
                "page must be between 1 and {PAGE_MAX}; use filters to find older things"
            )));
        }
        if !(1..=PER_PAGE_MAX).contains(&self.per_page()) {
            return Err(Error::invalid(format!(
                "per_page must be between 1 and {PER_PAGE_MAX}"
            )));
        }
        Ok(())
    }

    /// The number of the page.
    pub fn page(&self) -> i64 {
        self.page.unwrap_or(1)
    }

    /// How many things a page has at most.
    pub fn per_page(&self) -> i64 {
        self.per_page.unwrap_or(20)
    }

    /// How many things come before the page.
    pub fn offset(&self) -> i64 {
        (self.page() - 1) * self.per_page()
    }
}
