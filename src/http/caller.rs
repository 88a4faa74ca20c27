//! Who asks: from the headers of a request, or the address that it comes from, to a [`Caller`].

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::request::Request;
use crate::app::oidc::Unproven;
use crate::app::{App, Callers, EasyAuth, Proxies, UNPROVEN_PRINCIPAL};
use crate::domain::callers::bearer::{self, TokenRejection};
use crate::domain::callers::caller::Caller;
use crate::domain::callers::client_address::ClientAddress;
use crate::domain::callers::easy_auth;

/// Written by Azure's front end over whatever a client sent.
const CLIENT_IP: HeaderName = HeaderName::from_static("client-ip");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PRINCIPAL: HeaderName = HeaderName::from_static(easy_auth::PRINCIPAL_HEADER);
const PRINCIPAL_ID: HeaderName = HeaderName::from_static(easy_auth::ID_HEADER);
const PRINCIPAL_PROVIDER: HeaderName = HeaderName::from_static(easy_auth::PROVIDER_HEADER);

/// Why nobody is known.
pub enum Stranger {
    /// There are no credentials.
    NoCredentials,
    /// They are not accepted; the word is for the operator.
    Rejected(&'static str),
    /// As [`Stranger::Rejected`], by the identity provider's keys that are held; newer ones may
    /// accept them.
    UnknownKey(&'static str),
    /// The identity provider's keys are not there, so that nobody can be told from anybody.
    CannotTell,
}

/// Finds out who asks.
pub async fn authenticate(
    app: &App,
    request: &Request<'_>,
    now: SystemTime,
) -> Result<Arc<Caller>, Stranger> {
    match &app.callers {
        Callers::Anonymous => Ok(Arc::new(Caller::anonymous(
            address(app, request).as_bytes().to_vec(),
        ))),
        Callers::Oidc(oidc) => Ok(oidc.caller(token(request)?, now).await?),
        Callers::EasyAuth(_) if !comes_from_the_host(request) => Err(Stranger::NoCredentials),
        Callers::EasyAuth(easy_auth) => signed_in_by_azure(easy_auth, request),
    }
}

/// Finds out who asks where [`authenticate`] said [`Stranger::UnknownKey`], by newer keys, for
/// which it waits.
pub async fn authenticate_with_newer_keys(
    app: &App,
    request: &Request<'_>,
    now: SystemTime,
) -> Result<Arc<Caller>, Stranger> {
    match &app.callers {
        Callers::Oidc(oidc) => Ok(oidc.caller_with_newer_keys(token(request)?, now).await?),
        Callers::Anonymous | Callers::EasyAuth(_) => authenticate(app, request, now).await,
    }
}

fn token<'r>(request: &Request<'r>) -> Result<&'r str, Stranger> {
    bearer::extract_token(values(request, &AUTHORIZATION))?.ok_or(Stranger::NoCredentials)
}

fn signed_in_by_azure(
    easy_auth: &EasyAuth,
    request: &Request<'_>,
) -> Result<Arc<Caller>, Stranger> {
    let headers = easy_auth::EasyAuthHeaders {
        principal: values(request, &PRINCIPAL),
        id: values(request, &PRINCIPAL_ID),
        provider: values(request, &PRINCIPAL_PROVIDER),
    };
    match easy_auth::read_caller(headers, &easy_auth.rules) {
        Ok(None) => Err(Stranger::NoCredentials),
        Ok(Some(signed_in)) => {
            if !signed_in.has_claims {
                easy_auth.warn_of_missing_claims();
            }
            Ok(Arc::new(signed_in.caller))
        }
        Err(easy_auth::PrincipalError) => Err(Stranger::Rejected(UNPROVEN_PRINCIPAL)),
    }
}

/// Where a request comes from, as budgets count it.
pub fn address(app: &App, request: &Request<'_>) -> ClientAddress {
    match &app.proxies {
        Proxies::Azure { signs_in } if comes_from_the_host(request) => {
            let visitor = || ClientAddress::before_last_proxy(values(request, &FORWARDED_FOR));
            // The front end's value is the last if a client has sent one too.
            let client = || {
                values(request, &CLIENT_IP)
                    .next_back()
                    .and_then(ClientAddress::from_client_ip)
            };
            let is_behind_swa = *signs_in && comes_through_static_web_apps(request);
            is_behind_swa
                .then(visitor)
                .flatten()
                .or_else(client)
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

/// Whether Static Web Apps handed the request on: it says so of anonymous callers too. Without the
/// built-in sign-in anyone could say so.
fn comes_through_static_web_apps(request: &Request<'_>) -> bool {
    let mut providers = values(request, &PRINCIPAL_PROVIDER);
    providers.next() == Some(easy_auth::STATIC_WEB_APPS.as_bytes()) && providers.next().is_none()
}

/// In Azure the Functions host calls from this machine. Whoever comes from elsewhere has gone
/// around it, and around the front end that writes the platform's headers.
fn comes_from_the_host(request: &Request<'_>) -> bool {
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

impl From<TokenRejection> for Stranger {
    fn from(rejected: TokenRejection) -> Self {
        Self::Rejected(rejected.as_str())
    }
}

impl From<Unproven> for Stranger {
    fn from(unproven: Unproven) -> Self {
        match unproven {
            Unproven::Rejected(rejected) => rejected.into(),
            Unproven::UnknownKey(rejected) => Self::UnknownKey(rejected.as_str()),
            Unproven::CannotTell => Self::CannotTell,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::HeaderMap;

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

    /// Who is believed to ask, and from where, when the platform's headers come from a peer.
    async fn believed(peer: &str) -> (bool, ClientAddress) {
        let config = Config::read(&IN_AZURE.into_iter().collect()).unwrap();
        let app = App::new(config, Arc::new(SystemClock), Arc::new(SystemEntropy)).unwrap();
        let principal = data_encoding::BASE64
            .encode(br#"{"auth_typ":"aad","claims":[{"typ":"sub","val":"alice"}]}"#);
        let mut headers = HeaderMap::new();
        headers.insert(PRINCIPAL, HeaderValue::try_from(principal).unwrap());
        headers.insert(CLIENT_IP, HeaderValue::from_static("192.0.2.7:4711"));
        let (mut record, peer) = (Record::default(), peer.parse::<IpAddr>().unwrap());
        let request = Request {
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
            address(&app, &request),
        )
    }

    #[tokio::test]
    async fn the_platforms_headers_count_only_from_the_host_on_this_machine() {
        let client = ClientAddress::from_client_ip(b"192.0.2.7").unwrap();
        for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(believed(peer).await, (true, client), "{peer}");
        }
        for peer in ["198.51.100.1", "10.0.0.1", "2001:db8::1"] {
            assert_eq!(
                believed(peer).await,
                (false, peer.parse::<IpAddr>().unwrap().into()),
                "{peer}"
            );
        }
    }
}
