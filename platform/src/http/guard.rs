//! Stands in front of every handler: key, scope, rate, span. The body has not been read yet.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::{ConnectInfo, Request};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use http::{HeaderMap, header};
use protocol::ErrorCode;
use tower::{Layer, Service};
use tracing::Instrument;

use super::access::Access;
use super::caller::Caller;
use super::operation::Operation;
use crate::app::App;
use crate::error::{Error, Refused};

/// What a guard knows about its route.
pub(super) struct Gate {
    pub(super) app: App,
    pub(super) access: Access,
    pub(super) is_hot: bool,
    pub(super) operation: Operation,
}

/// Puts a guard in front of a handler.
///
/// A layer of our own, not `from_fn`, which makes a boxed copy of all that lies behind it for every request.
#[derive(Clone)]
pub(super) struct GuardLayer(pub(super) Arc<Gate>);

impl<S> Layer<S> for GuardLayer {
    type Service = Guarded<S>;

    fn layer(&self, handler: S) -> Guarded<S> {
        Guarded {
            gate: Arc::clone(&self.0),
            handler,
        }
    }
}

#[derive(Clone)]
pub(super) struct Guarded<S> {
    gate: Arc<Gate>,
    handler: S,
}

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.handler.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The one that was found ready goes along; its copy waits for the next request.
        let copy = self.handler.clone();
        let handler = std::mem::replace(&mut self.handler, copy);
        let gate = Arc::clone(&self.gate);
        let span = tracing::info_span!(
            "request",
            operation = gate.operation.name(),
            request.id = super::RequestId::current().as_str()
        );
        Box::pin(guard(gate, handler, request).instrument(span))
    }
}

async fn guard<S>(
    gate: Arc<Gate>,
    mut handler: S,
    mut request: Request,
) -> Result<Response, Infallible>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Send + 'static,
{
    let admitted = admit(&gate, request.headers(), address(&request));
    let mut response = match gate.app.db.unless_silent(admitted).await.flatten() {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            request.extensions_mut().insert(gate.operation);
            let handled = async move {
                let Ok(response) = handler.call(request).await;
                response
            };
            if gate.is_hot {
                handled.await
            } else {
                super::request::to_its_end(gate.app.clone(), handled).await
            }
        }
        Err(refusal) => refusal.into_response(),
    };
    response.extensions_mut().insert(gate.operation);
    Ok(response)
}

/// Where a request came from.
pub(super) fn address(request: &Request) -> IpAddr {
    request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip())
}

/// Finds out who asks, and whether they may.
fn admit(
    gate: &Gate,
    headers: &HeaderMap,
    address: IpAddr,
) -> impl Future<Output = Result<Option<Caller>, Error>> + Send {
    let token = bearer(headers).map(str::to_owned);
    async move {
        if matches!(gate.access, Access::Public) {
            return Ok(None);
        }
        let identity = match &token {
            Some(token) => gate.app.keys.authenticate(&gate.app, token).await?,
            None => None,
        };
        let Some(identity) = identity else {
            gate.app.rates.count_failure(address)?;
            return Err(unauthorized(token.is_some()));
        };
        gate.access.check(identity.scope)?;
        // Batches of the hot path spend one token per item when their size is known.
        gate.app.rates.spend(identity.key, gate.is_hot, 1)?;
        Ok(Some(Caller::new(identity)))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

fn unauthorized(was_given: bool) -> Error {
    let (message, hint) = if was_given {
        (
            "the key is unknown, expired or revoked",
            "use a valid key, or ask an admin for one",
        )
    } else {
        (
            "this route needs a key",
            "send the header `Authorization: Bearer <key>`",
        )
    };
    Refused::new(ErrorCode::Unauthorized, message)
        .hint(hint)
        .into()
}
