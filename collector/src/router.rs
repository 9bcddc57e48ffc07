//! All routes: the API and the page, behind the checks of every request.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;

use crate::app::App;
use crate::guard::limit_and_count;
use crate::problem::Problem;
use crate::{api, page};

/// Returns all routes.
pub(crate) fn router(app: &Arc<App>) -> Router {
    api::router(app)
        .merge(page::router())
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(from_fn_with_state(Arc::clone(app), limit_and_count))
        .with_state(Arc::clone(app))
}
