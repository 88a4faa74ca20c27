//! Who may go on: callers whom somebody vouches for, and not more often than they may.
//!
//! Every handler of a guarded route calls one of these first. What [`caller()`] returns is the
//! proof that lets a handler read a body, so that one which reads it without a guard does not
//! compile; `tests/api/callers.rs` holds every route against every kind of caller.

use std::sync::Arc;
use std::time::SystemTime;

use http::header::HeaderName;

use super::caller::{self, Stranger};
use super::error::ApiError;
use super::origin;
use super::record::Record;
use super::request::Request;
use crate::app::{App, Callers, WRONG_ADMIN_KEY};
use crate::domain::audit::{Action, Actor};
use crate::domain::callers::caller::{Caller, Forbidden};
use crate::domain::callers::caller_hash::CallerHash;
use crate::domain::limits::rate_limit::{Budget, Cost, Decision};
use crate::domain::livekit::names::{ParticipantIdentity, RoomName};

/// What all hashes of callers are made for: counters and logs name a caller alike, so that an
/// operator finds one by the other.
const PURPOSE: &str = "caller";

const ADMIN_KEY: HeaderName = HeaderName::from_static("x-admin-api-key");

/// A caller who may go on.
pub struct Admission {
    caller: Arc<Caller>,
    /// Stands for the caller in counters, in the log, and at an upstream that wants to tell end
    /// users apart.
    pub caller_hash: CallerHash,
    /// The request's one clock reading.
    pub now: SystemTime,
}

impl Admission {
    /// The policy, once it is known what the caller wants: the identity under which it goes on,
    /// `None` for an anonymous caller without a wish.
    ///
    /// # Errors
    /// 403 for a missing scope, somebody else's identity, or a room that is not the caller's.
    pub fn authorize(
        &self,
        wanted: Option<ParticipantIdentity>,
        room_name: Option<&RoomName>,
    ) -> Result<Option<ParticipantIdentity>, Forbidden> {
        self.caller.authorize(wanted, room_name)
    }
}

/// Lets a caller ask for a key, and takes the request from the caller's budget.
///
/// # Errors
/// 403 for a web page that may not ask, 401 without good credentials, 503 where those cannot be
/// checked or nobody can be counted, 429 past the budget.
pub async fn caller<B>(
    app: &App,
    request: &mut Request<'_, B>,
    action: Action,
) -> Result<Admission, ApiError> {
    let now = app.clock.now();
    request.record.action = Some((action, now));
    check_origin(app, request)?;
    let (caller, hash) = recognized(app, request, now).await?;
    if let Some(budget) = app.budgets.tokens {
        take(app, request.record, budget, hash, now).await?;
    }
    Ok(Admission {
        caller,
        caller_hash: hash,
        now,
    })
}

/// Takes one from the caller's budget of Realtime client secrets. Called last, with a turn at the
/// upstream in hand, so that no request that is refused anyway costs one; what the upstream makes
/// of it does not matter, since a secret may exist that never arrived.
///
/// # Errors
/// 429 past the budget.
pub async fn mint(app: &App, record: &mut Record, admission: &Admission) -> Result<(), ApiError> {
    match app.budgets.mints {
        Some(budget) => take(app, record, budget, admission.caller_hash, admission.now).await,
        None => Ok(()),
    }
}

/// Lets an operator in: by one of the keys, or by the role. Returns the request's one clock
/// reading.
///
/// # Errors
/// 403 for a web page that may not ask, 401 without good credentials, 403 for a caller without the
/// role, 429 after too many wrong keys from one address, 503 while the keys, or the one under which
/// addresses are counted, are not there.
pub async fn operator<B>(app: &App, request: &mut Request<'_, B>) -> Result<SystemTime, ApiError> {
    let now = app.clock.now();
    check_origin(app, request)?;
    if request.headers.contains_key(ADMIN_KEY) {
        return by_key(app, request, now).await.map(|()| now);
    }
    if matches!(app.callers, Callers::Anonymous) {
        return Err(ApiError::MissingCredentials);
    }
    let (caller, _) = recognized(app, request, now).await?;
    if caller.is_admin() {
        Ok(now)
    } else {
        Err(ApiError::InsufficientScope)
    }
}

/// Where a cookie signs callers in, a page of another site could ask in its visitor's name: it is
/// refused before it can use up a budget of the visitor's.
fn check_origin<B>(app: &App, request: &Request<'_, B>) -> Result<(), ApiError> {
    match app.callers {
        Callers::EasyAuth(_) if !origin::may_ask(&app.cors, request.headers) => {
            Err(ApiError::OriginForbidden)
        }
        Callers::EasyAuth(_) | Callers::Oidc(_) | Callers::Anonymous => Ok(()),
    }
}

/// Finds out who asks, and notes it.
async fn recognized<B>(
    app: &App,
    request: &mut Request<'_, B>,
    now: SystemTime,
) -> Result<(Arc<Caller>, CallerHash), ApiError> {
    let mut authenticated = caller::authenticate(app, request, now).await;
    if matches!(authenticated, Err(Stranger::UnknownKey(_)))
        && may_look_for_keys(app, request, now).await?
    {
        authenticated = caller::authenticate_with_newer_keys(app, request, now).await;
    }
    let caller = match authenticated {
        Ok(caller) => caller,
        Err(stranger) => return Err(refused(app, request, stranger, now).await),
    };
    let hash = hash(app, caller.name()).await?;
    request.record.actor = Some(Actor::Caller(hash));
    Ok((caller, hash))
}

/// Wrong keys count against the address, and past the budget no key opens anything: guessing must
/// not go on. Right ones never count, so that neither an operator elsewhere nor many at once
/// notice.
///
/// Invariant: however many ask at the same time, the answers are those of some order one after the
/// other, because one step of the counters both decides and counts. That step comes last, so what
/// was compared before it is told to nobody whom it refuses: a right and a wrong key then get the
/// same answer, after the same work. `tests/real/wrong_keys.rs` holds this against a slow Redis.
async fn by_key<B>(
    app: &App,
    request: &mut Request<'_, B>,
    now: SystemTime,
) -> Result<(), ApiError> {
    let address = of_address(app, request).await?;
    let known = app
        .secrets
        .admin_keys
        .fetched_value()
        .await
        .ok_or(ApiError::SecretUnavailable)?;
    let mut keys = request.headers.get_all(ADMIN_KEY).iter();
    let only = keys.next().filter(|_| keys.next().is_none());
    let found = only.and_then(|key| known.find(key.as_bytes()));
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
    allowed(app, request.record, budget, decision, now)?;
    let Some(id) = found else {
        app.metrics.auth_rejected(WRONG_ADMIN_KEY);
        return Err(ApiError::Unauthenticated(WRONG_ADMIN_KEY));
    };
    request.record.actor = Some(Actor::AdminKey(id));
    request.record.limit = None;
    Ok(())
}

/// The answer to a stranger. Wrong credentials count against the address. Past that budget the
/// answer stays the same, since a client whose token has expired must learn just that, and good
/// ones from there are still accepted, since a signature cannot be guessed; but the refusal leaves
/// no line of its own.
async fn refused<B>(
    app: &App,
    request: &mut Request<'_, B>,
    stranger: Stranger,
    now: SystemTime,
) -> ApiError {
    match stranger {
        Stranger::NoCredentials => ApiError::MissingCredentials,
        Stranger::CannotTell => ApiError::AuthUnavailable,
        Stranger::Rejected(reason) | Stranger::UnknownKey(reason) => {
            app.metrics.auth_rejected(reason);
            let address = match of_address(app, request).await {
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

/// Whether a token with an unknown key may cause a look-up of keys and wait for it: not where too
/// many were refused already.
async fn may_look_for_keys<B>(
    app: &App,
    request: &Request<'_, B>,
    now: SystemTime,
) -> Result<bool, ApiError> {
    let address = of_address(app, request).await?;
    Ok(app
        .counters
        .peek(&app.budgets.refused_bearers, address, now)
        .await
        .allowed)
}

async fn take(
    app: &App,
    record: &mut Record,
    budget: Budget,
    key: CallerHash,
    now: SystemTime,
) -> Result<(), ApiError> {
    let decision = app.counters.take(&budget, key, now).await;
    allowed(app, record, budget, decision, now)
}

fn allowed(
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

async fn of_address<B>(app: &App, request: &Request<'_, B>) -> Result<CallerHash, ApiError> {
    let address = caller::address(app, request);
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
