//! Selects how callers are authenticated.

use super::oidc;
use super::platform_sign_in::PlatformSignIn;
use super::reader::SettingsReader;
use crate::domain::callers::bearer::TokenPolicy;
use crate::domain::callers::caller::CallerRules;
use crate::domain::requests::fields::Requirement;

const CALLER_AUTH: &str = "ROOMKEY_CALLER_AUTH";

/// The authentication of callers and its rules.
#[derive(Debug)]
pub enum CallerAuth {
    /// No authentication; rate limits apply per address.
    Anonymous,
    /// Access tokens of an identity provider.
    Oidc(TokenPolicy),
    /// Azure's built-in authentication.
    EasyAuth(CallerRules),
}

/// The value of the setting.
#[derive(Clone, Copy)]
enum Method {
    Anonymous,
    Oidc,
    EasyAuth,
}

impl Method {
    fn parse(text: &str) -> Result<Self, Requirement> {
        match text {
            "anonymous" => Ok(Self::Anonymous),
            "oidc" => Ok(Self::Oidc),
            "easy-auth" => Ok(Self::EasyAuth),
            _ => Err("must be oidc, easy-auth or anonymous".into()),
        }
    }
}

/// Returns the setting that requires authentication, which only a deployment has.
#[must_use]
pub fn authenticated_by(reader: &SettingsReader<'_>) -> Option<&'static str> {
    let is_anonymous = reader.unchecked(CALLER_AUTH) == Some("anonymous");
    (reader.is_set(CALLER_AUTH) && !is_anonymous)
        .then_some(CALLER_AUTH)
        .or_else(|| oidc::first_set(reader))
}

/// Reads the method and its settings. `None` means that a fault was recorded.
pub fn read(
    reader: &mut SettingsReader<'_>,
    dev_mode: bool,
    sign_in: PlatformSignIn,
) -> Option<CallerAuth> {
    if !reader.is_set(CALLER_AUTH) && !dev_mode {
        reader.fault(
            CALLER_AUTH,
            "must be set outside dev mode: oidc (access tokens of your identity provider), \
             easy-auth (Azure's built-in authentication) or anonymous (anyone who can reach the \
             service)",
        );
        return None;
    }
    match reader.parsed_or(CALLER_AUTH, Method::Anonymous, Method::parse)? {
        Method::Anonymous => {
            oidc::refuse_unused(reader, false);
            Some(CallerAuth::Anonymous)
        }
        Method::Oidc => oidc::read(reader).map(CallerAuth::Oidc),
        Method::EasyAuth => {
            oidc::refuse_unused(reader, true);
            refuse_easy_auth_without_platform(reader, sign_in);
            oidc::read_caller_rules(reader).map(CallerAuth::EasyAuth)
        }
    }
}

/// Records a fault where the platform does not remove forged headers, and for each setting that
/// needs claims where the platform forwards none.
fn refuse_easy_auth_without_platform(reader: &mut SettingsReader<'_>, sign_in: PlatformSignIn) {
    if !sign_in.is_on {
        reader.fault(
            CALLER_AUTH,
            "cannot be easy-auth here: only Azure removes forged headers, and only where its \
             built-in authentication is on (WEBSITE_AUTH_ENABLED, and platform.enabled in \
             WEBSITE_AUTH_V2_CONFIG_JSON)",
        );
    }
    for claim in [oidc::ROOMS_CLAIM, oidc::PROJECTS_CLAIM, oidc::ROLES_CLAIM] {
        if sign_in.is_static_web_apps_only && reader.is_set(claim) {
            reader.fault(
                claim,
                "names a claim, but callers sign in through Static Web Apps, which forwards no \
                 claims; remove it. Roles assigned in Static Web Apps count as roles",
            );
        }
    }
}
