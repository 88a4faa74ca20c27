//! Guards: they admit callers who are authenticated and within their limits.
//!
//! Every handler of a guarded route calls one of these first. The admission that a guard returns is
//! the proof that lets a handler read a body, so a handler that reads one without a guard does not
//! compile; `tests/api/callers.rs` tests every route against every kind of caller.

pub mod admission;

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{HeaderName, HeaderValue};

use self::admission::{CallerAdmission, EndAdmission, OperatorAdmission};
use super::caller;
use super::error::ApiError;
use super::origin;
use super::record::Record;
use super::request::Request;
use crate::app::{App, CallerAuthentication, WRONG_ADMIN_KEY};
use crate::domain::audit::{Action, Actor};
use crate::domain::callers::auth_error::AuthError;
use crate::domain::callers::caller::Caller;
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::limits::rate_limit::{Budget, Cost, Decision};
use crate::traces::{self, Step};

/// The purpose of all caller hashes: counters and logs share one hash of a caller, so that an
/// operator can find one by the other.
const PURPOSE: &str = "caller";

const ADMIN_KEY: HeaderName = HeaderName::from_static("x-admin-api-key");

/// Admits a caller and charges the request to the caller's budget.
///
/// # Errors
/// 403 for a web page that is not allowed, 401 without valid credentials, 503 if the credentials
/// cannot be checked or the caller cannot be counted, 429 past the budget.
pub async fn admit_caller(
    app: &App,
    request: &mut Request<'_>,
    action: Action,
) -> Result<CallerAdmission, ApiError> {
    let _span = traces::start(Step::Guard);
    let now = app.clock.now();
    request.record.action = Some((action, now));
    check_origin(app, request)?;
    let (caller, caller_hash) = identify_caller(app, request, now).await?;
    if let Some(budget) = app.budgets.tokens {
        charge(app, request.record, budget, caller_hash, now).await?;
    }
    Ok(CallerAdmission {
        caller,
        caller_hash,
        now,
    })
}

/// Charges one Realtime client secret to the caller's budget. It is called last, after the permit
/// of the upstream is acquired, so that a refused request is not charged. A failed mint is charged
/// too, because the upstream may have issued a secret that did not arrive.
///
/// # Errors
/// 429 past the budget.
pub async fn charge_mint(
    app: &App,
    record: &mut Record,
    admission: &CallerAdmission,
) -> Result<(), ApiError> {
    match app.budgets.mints {
        Some(budget) => charge(app, record, budget, admission.caller_hash, admission.now).await,
        None => Ok(()),
    }
}

/// Admits an operator, by an admin key or by the admin role.
///
/// # Errors
/// 403 for a web page that is not allowed, 401 without valid credentials, 403 for a caller without
/// the role, 429 after too many wrong keys from one address, 503 while the keys, or the one under
/// which addresses are counted, are missing.
pub async fn admit_operator(
    app: &App,
    request: &mut Request<'_>,
) -> Result<OperatorAdmission, ApiError> {
    let _span = traces::start(Step::Guard);
    let now = app.clock.now();
    check_origin(app, request)?;
    if request.headers.contains_key(ADMIN_KEY) {
        let mut sent = request.headers.get_all(ADMIN_KEY).iter();
        let only = sent.next().filter(|_| sent.next().is_none());
        check_admin_key(app, request, only.map(HeaderValue::as_bytes), now).await?;
    } else if matches!(app.callers, CallerAuthentication::Anonymous) {
        return Err(ApiError::MissingCredentials);
    } else {
        let (caller, _) = identify_caller(app, request, now).await?;
        if !caller.is_admin() {
            return Err(ApiError::InsufficientScope);
        }
    }
    let actor = request.record.actor.unwrap_or(Actor::Unknown);
    Ok(OperatorAdmission { actor, now })
}

/// Admits an operator as [`admit_operator`] does, and also one who sends an admin key as a bearer
/// token. It is for the scrape of metrics only: a Prometheus before 2.55 can send no other header.
///
/// A bearer that has the three parts of a JWT is an access token, every other one an admin key. So
/// a wrong one of either kind counts as such, and neither is tried as the other.
///
/// # Errors
/// As [`admit_operator`].
pub async fn admit_scraper(app: &App, request: &mut Request<'_>) -> Result<SystemTime, ApiError> {
    let key = if request.headers.contains_key(ADMIN_KEY) {
        None
    } else {
        caller::bearer_admin_key(request)
    };
    let Some(key) = key else {
        return Ok(admit_operator(app, request).await?.now);
    };
    let _span = traces::start(Step::Guard);
    let now = app.clock.now();
    check_origin(app, request)?;
    check_admin_key(app, request, Some(key.as_bytes()), now).await?;
    Ok(now)
}

/// Admits whoever may end sessions: an operator any, a caller those of its own. A caller's requests
/// are charged to a budget of their own.
///
/// # Errors
/// As [`admit_operator`] with an admin key, else as [`admit_caller`].
pub async fn admit_caller_or_operator(
    app: &App,
    request: &mut Request<'_>,
) -> Result<EndAdmission, ApiError> {
    if request.headers.contains_key(ADMIN_KEY) {
        let OperatorAdmission { actor, now } = admit_operator(app, request).await?;
        return Ok(EndAdmission {
            actor,
            owner: None,
            now,
        });
    }
    let _span = traces::start(Step::Guard);
    let now = app.clock.now();
    check_origin(app, request)?;
    let (caller, caller_hash) = identify_caller(app, request, now).await?;
    let owner = (!caller.is_admin()).then_some(caller_hash);
    if let (Some(budget), Some(owner)) = (app.budgets.ends, owner) {
        charge(app, request.record, budget, owner, now).await?;
    }
    Ok(EndAdmission {
        actor: Actor::Caller(caller_hash),
        owner,
        now,
    })
}

/// Refuses pages of other sites where a cookie signs callers in: such a page could act in its
/// visitor's name. It is refused before it can use up a budget of the visitor's.
fn check_origin(app: &App, request: &Request<'_>) -> Result<(), ApiError> {
    match app.callers {
        CallerAuthentication::EasyAuth(_) if !origin::is_allowed(&app.cors, request.headers) => {
            Err(ApiError::OriginForbidden)
        }
        CallerAuthentication::EasyAuth(_)
        | CallerAuthentication::Oidc(_)
        | CallerAuthentication::Anonymous => Ok(()),
    }
}

/// Identifies the caller and records who it is.
async fn identify_caller(
    app: &App,
    request: &mut Request<'_>,
    now: SystemTime,
) -> Result<(Arc<Caller>, CallerHash), ApiError> {
    let mut authenticated = caller::authenticate(app, request, now).await;
    if matches!(authenticated, Err(AuthError::UnknownKey(_)))
        && may_refresh_keys(app, request, now).await?
    {
        authenticated = caller::authenticate_with_newer_keys(app, request, now).await;
    }
    let caller = match authenticated {
        Ok(caller) => caller,
        Err(error) => return Err(refuse(app, request, error, now).await),
    };
    let caller_hash = hash(app, caller.name()).await?;
    request.record.actor = Some(Actor::Caller(caller_hash));
    Ok((caller, caller_hash))
}

/// Checks an admin key; `None` is a wrong one. Wrong keys count against the address, and past the
/// budget no key is accepted from there, so that guessing stops. Right keys never count, so neither
/// another operator nor many requests at once are affected.
///
/// Invariant: however many requests run at the same time, the answers are those of some order one
/// after the other, because one step of the counters both decides and counts. That step comes last,
/// so a refused request learns nothing of the comparison before it: a right and a wrong key then
/// get the same answer, after the same work. `tests/real/wrong_keys.rs` holds this against a slow
/// Redis.
async fn check_admin_key(
    app: &App,
    request: &mut Request<'_>,
    sent: Option<&[u8]>,
    now: SystemTime,
) -> Result<(), ApiError> {
    let address = address_hash(app, request).await?;
    let keys = app
        .secrets
        .admin_keys
        .fetched_value()
        .await
        .ok_or(ApiError::SecretUnavailable)?;
    let found = sent.and_then(|key| keys.find(key));
    let budget = app.budgets.wrong_keys;
    let cost = if found.is_some() {
        Cost::Nothing
    } else {
        Cost::One
    };
    let decision = app
        .counters
        .decide_local_first(&budget, address, now, cost)
        .await;
    enforce(app, request.record, budget, decision, now)?;
    let Some(id) = found else {
        app.metrics.auth_rejected(WRONG_ADMIN_KEY);
        return Err(ApiError::Unauthenticated(WRONG_ADMIN_KEY));
    };
    request.record.actor = Some(Actor::AdminKey(id));
    request.record.limit = None;
    Ok(())
}

/// Returns the error for a caller who is not authenticated. Wrong credentials count against the
/// address. Past that budget the answer stays the same, since a client whose token has expired must
/// learn just that, and valid ones from there are still accepted, since a signature cannot be
/// guessed; but the refusal leaves no log line of its own.
async fn refuse(
    app: &App,
    request: &mut Request<'_>,
    error: AuthError,
    now: SystemTime,
) -> ApiError {
    match error {
        AuthError::MissingCredentials => ApiError::MissingCredentials,
        AuthError::KeysUnavailable => ApiError::AuthUnavailable,
        AuthError::Rejected(reason) | AuthError::UnknownKey(reason) => {
            app.metrics.auth_rejected(reason);
            let address = match address_hash(app, request).await {
                Ok(address) => address,
                Err(error) => return error,
            };
            let budget = app.budgets.refused_bearers;
            if !app.counters.take(&budget, address, now).await.allowed {
                app.metrics.rate_limited(budget.name);
                request.record.unlogged_budget = Some(budget.name);
            }
            ApiError::Unauthenticated(reason)
        }
    }
}

/// Returns whether a token with an unknown key may cause a refresh of the keys and wait for it: not
/// where too many tokens were refused already.
async fn may_refresh_keys(
    app: &App,
    request: &Request<'_>,
    now: SystemTime,
) -> Result<bool, ApiError> {
    let address = address_hash(app, request).await?;
    Ok(app
        .counters
        .peek(&app.budgets.refused_bearers, address, now)
        .await
        .allowed)
}

pub(super) async fn charge(
    app: &App,
    record: &mut Record,
    budget: Budget,
    key: CallerHash,
    now: SystemTime,
) -> Result<(), ApiError> {
    let decision = app.counters.take(&budget, key, now).await;
    enforce(app, record, budget, decision, now)
}

fn enforce(
    app: &App,
    record: &mut Record,
    budget: Budget,
    decision: Decision,
    now: SystemTime,
) -> Result<(), ApiError> {
    record.limit = Some((budget, decision, now));
    if decision.allowed {
        return Ok(());
    }
    app.metrics.rate_limited(budget.name);
    record.unlogged_budget = Some(budget.name);
    Err(ApiError::RateLimited)
}

async fn address_hash(app: &App, request: &Request<'_>) -> Result<CallerHash, ApiError> {
    let address = caller::client_address(app, request);
    hash(app, address.as_bytes()).await
}

async fn hash(app: &App, name: &[u8]) -> Result<CallerHash, ApiError> {
    let key = app
        .secrets
        .hash_key
        .fetched_value()
        .await
        .ok_or(ApiError::SecretUnavailable)?;
    Ok(key.hash(PURPOSE, name))
}
