//! The authentication of callers, and the proxies that report their addresses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::dependency::DependencyStatus;
use super::oidc::Oidc;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::callers::CallerAuth;
use crate::domain::callers::caller::CallerRules;
use crate::domain::callers::client_address::TrustedProxies;
use crate::entropy::Entropy;
use crate::metrics::OidcKeys;

/// Authenticates callers in one of three ways.
pub enum CallerAuthentication {
    /// None: callers are distinguished by their address.
    Anonymous,
    /// An access token of the identity provider.
    Oidc(Box<Oidc>),
    /// Azure's built-in authentication.
    EasyAuth(EasyAuth),
}

impl CallerAuthentication {
    /// Starts to fetch the identity provider's keys where they are needed. It must be called inside
    /// a Tokio runtime.
    pub(super) fn new(
        auth: CallerAuth,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Self {
        match auth {
            CallerAuth::Anonymous => Self::Anonymous,
            CallerAuth::Oidc(policy) => Self::Oidc(Box::new(Oidc::new(policy, clock, entropy))),
            CallerAuth::EasyAuth(rules) => Self::EasyAuth(EasyAuth {
                rules,
                has_warned: AtomicBool::new(false),
            }),
        }
    }

    /// Returns the status of the identity provider's keys, where they are needed.
    pub(super) fn key_status(&self, now: SystemTime) -> Option<DependencyStatus> {
        self.oidc().map(|oidc| oidc.key_status(now))
    }

    /// Returns the metrics of the identity provider's keys, where they are needed.
    pub(super) fn key_metrics(&self, now: SystemTime) -> Option<OidcKeys> {
        self.oidc().map(|oidc| oidc.key_metrics(now))
    }

    fn oidc(&self) -> Option<&Oidc> {
        match self {
            Self::Oidc(oidc) => Some(oidc),
            Self::Anonymous | Self::EasyAuth(_) => None,
        }
    }
}

/// Reads the headers of Azure's built-in authentication.
pub struct EasyAuth {
    /// The meaning of the claims.
    pub rules: CallerRules,
    /// The warning about missing claims was logged.
    has_warned: AtomicBool,
}

impl EasyAuth {
    /// Warns once that a setting requires claims, which Static Web Apps does not forward.
    pub fn warn_of_missing_claims(&self) {
        let CallerRules {
            rooms_claim,
            projects_claim,
            roles_claim,
            ..
        } = &self.rules;
        let requires_claims =
            rooms_claim.is_some() || projects_claim.is_some() || roles_claim.is_some();
        if requires_claims && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                cause = "no_claims",
                "Static Web Apps forwards no claims: with ROOMKEY_ROOMS_CLAIM its callers may \
                 enter no room, with ROOMKEY_PROJECTS_CLAIM they may use no project, and \
                 ROOMKEY_ROLES_CLAIM adds no role"
            );
        }
    }
}

/// Proxies trusted to report the client address.
pub enum Proxies {
    /// Azure's front end.
    Azure {
        /// The built-in authentication is on, so that no client can send its headers.
        signs_in: bool,
    },
    /// The operator's own proxies, if any.
    Own(TrustedProxies),
}

impl Proxies {
    /// Selects the proxies of this environment.
    pub(super) fn new(config: &Config) -> Self {
        if config.hosting.in_azure {
            Self::Azure {
                signs_in: config.platform_signs_in,
            }
        } else {
            Self::Own(config.rate_limits.trusted_proxies.clone())
        }
    }
}
