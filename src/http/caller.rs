//! The caller of a request, from its headers or its client address.

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::request::Request;
use crate::app::{App, CallerAuthentication, EasyAuth, Proxies, UNPROVEN_PRINCIPAL};
use crate::domain::callers::auth_error::AuthError;
use crate::domain::callers::bearer;
use crate::domain::callers::caller::Caller;
use crate::domain::callers::client_address::ClientAddress;
use crate::domain::callers::easy_auth;

/// Written by Azure's front end, which replaces a value that the client sent.
const CLIENT_IP: HeaderName = HeaderName::from_static("client-ip");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PRINCIPAL: HeaderName = HeaderName::from_static(easy_auth::PRINCIPAL_HEADER);
const PRINCIPAL_ID: HeaderName = HeaderName::from_static(easy_auth::ID_HEADER);
const PRINCIPAL_PROVIDER: HeaderName = HeaderName::from_static(easy_auth::PROVIDER_HEADER);

/// Authenticates the caller of a request.
///
/// # Errors
/// [`AuthError`].
pub async fn authenticate(
    app: &App,
    request: &Request<'_>,
    now: SystemTime,
) -> Result<Arc<Caller>, AuthError> {
    match &app.callers {
        CallerAuthentication::Anonymous => Ok(Arc::new(Caller::anonymous(
            client_address(app, request).as_bytes().to_vec(),
        ))),
        CallerAuthentication::Oidc(oidc) => oidc.authenticate(bearer_token(request)?, now).await,
        CallerAuthentication::EasyAuth(easy_auth) => authenticate_by_platform(easy_auth, request),
    }
}

/// Authenticates again after [`AuthError::UnknownKey`], with newer keys, for which it waits.
///
/// # Errors
/// [`AuthError`].
pub async fn authenticate_with_newer_keys(
    app: &App,
    request: &Request<'_>,
    now: SystemTime,
) -> Result<Arc<Caller>, AuthError> {
    match &app.callers {
        CallerAuthentication::Oidc(oidc) => {
            oidc.authenticate_with_newer_keys(bearer_token(request)?, now)
                .await
        }
        CallerAuthentication::Anonymous | CallerAuthentication::EasyAuth(_) => {
            authenticate(app, request, now).await
        }
    }
}

fn bearer_token<'r>(request: &Request<'r>) -> Result<&'r str, AuthError> {
    bearer::extract_token(values(request, &AUTHORIZATION))?.ok_or(AuthError::MissingCredentials)
}

/// Returns the bearer token if it is an admin key and not an access token, which has the form of a
/// JWT.
pub fn bearer_admin_key<'r>(request: &Request<'r>) -> Option<&'r str> {
    let token = bearer_token(request).ok()?;
    (!bearer::has_jwt_form(token)).then_some(token)
}

fn authenticate_by_platform(
    easy_auth: &EasyAuth,
    request: &Request<'_>,
) -> Result<Arc<Caller>, AuthError> {
    if !is_from_host(request) {
        return Err(AuthError::MissingCredentials);
    }
    let headers = easy_auth::EasyAuthHeaders {
        principal: values(request, &PRINCIPAL),
        id: values(request, &PRINCIPAL_ID),
        provider: values(request, &PRINCIPAL_PROVIDER),
    };
    match easy_auth::read_caller(headers, &easy_auth.rules) {
        Ok(None) => Err(AuthError::MissingCredentials),
        Ok(Some(signed_in)) => {
            if !signed_in.has_claims {
                easy_auth.warn_of_missing_claims();
            }
            Ok(Arc::new(signed_in.caller))
        }
        Err(easy_auth::PrincipalError) => Err(AuthError::Rejected(UNPROVEN_PRINCIPAL)),
    }
}

/// Returns the address of the client, by which budgets count.
pub fn client_address(app: &App, request: &Request<'_>) -> ClientAddress {
    match &app.proxies {
        Proxies::Azure { signs_in } if is_from_host(request) => {
            let before_proxy = || ClientAddress::before_last_proxy(values(request, &FORWARDED_FOR));
            // The front end's value is the last if the client sent one too.
            let from_front_end = || {
                values(request, &CLIENT_IP)
                    .next_back()
                    .and_then(ClientAddress::from_client_ip)
            };
            let is_behind_swa = *signs_in && is_from_static_web_apps(request);
            is_behind_swa
                .then(before_proxy)
                .flatten()
                .or_else(from_front_end)
                .unwrap_or(request.peer.into())
        }
        Proxies::Azure { .. } => request.peer.into(),
        Proxies::Own(trusted) => ClientAddress::from_forwarded_for(
            values(request, &FORWARDED_FOR),
            request.peer,
            trusted,
        ),
    }
}

/// Returns whether Static Web Apps forwarded the request, which it marks for anonymous callers too.
/// The mark counts only with the built-in authentication; without it any client could send it.
fn is_from_static_web_apps(request: &Request<'_>) -> bool {
    let mut providers = values(request, &PRINCIPAL_PROVIDER);
    providers.next() == Some(easy_auth::STATIC_WEB_APPS.as_bytes()) && providers.next().is_none()
}

/// Returns whether the Functions host, which in Azure runs on this machine, sent the request. Any
/// other peer bypassed the host and the front end that writes the platform's headers.
fn is_from_host(request: &Request<'_>) -> bool {
    request.peer.to_canonical().is_loopback()
}

fn values<'r>(
    request: &Request<'r>,
    name: &HeaderName,
) -> impl DoubleEndedIterator<Item = &'r [u8]> + use<'r> {
    request
        .headers
        .get_all(name)
        .into_iter()
        .map(HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::HeaderMap;

    use uuid::Uuid;

    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::config::Config;
    use crate::entropy::SystemEntropy;
    use crate::http::record::Record;

    const IN_AZURE: [(&str, &str); 6] = [
        ("WEBSITE_INSTANCE_ID", "i"),
        ("WEBSITE_AUTH_ENABLED", "true"),
        ("ROOMKEY_CALLER_AUTH", "easy-auth"),
        ("LIVEKIT_URL", "wss://livekit.example.com"),
        ("LIVEKIT_API_KEY", "APIkey"),
        (
            "LIVEKIT_API_SECRET",
            "a-secret-of-at-least-32-bytes-or-more",
        ),
    ];

    /// Returns whether the platform's headers are trusted from a peer, and the client address.
    async fn identified(peer: &str) -> (bool, ClientAddress) {
        let config = Config::read(&IN_AZURE.into_iter().collect()).unwrap();
        let app = App::new(config, Arc::new(SystemClock), Arc::new(SystemEntropy)).unwrap();
        let principal = data_encoding::BASE64
            .encode(br#"{"auth_typ":"aad","claims":[{"typ":"sub","val":"alice"}]}"#);
        let mut headers = HeaderMap::new();
        headers.insert(PRINCIPAL, HeaderValue::try_from(principal).unwrap());
        headers.insert(CLIENT_IP, HeaderValue::from_static("192.0.2.7:4711"));
        let (mut record, peer) = (Record::default(), peer.parse::<IpAddr>().unwrap());
        let request = Request {
            id: Uuid::nil(),
            headers: &headers,
            query: None,
            peer,
            is_stopping: false,
            record: &mut record,
            body: &mut futures_util::stream::empty(),
        };
        (
            authenticate(&app, &request, SystemClock.now())
                .await
                .is_ok(),
            client_address(&app, &request),
        )
    }

    #[tokio::test]
    async fn the_platforms_headers_count_only_from_the_host_on_this_machine() {
        let client = ClientAddress::from_client_ip(b"192.0.2.7").unwrap();
        for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(identified(peer).await, (true, client), "{peer}");
        }
        for peer in ["198.51.100.1", "10.0.0.1", "2001:db8::1"] {
            assert_eq!(
                identified(peer).await,
                (false, peer.parse::<IpAddr>().unwrap().into()),
                "{peer}"
            );
        }
    }
}
