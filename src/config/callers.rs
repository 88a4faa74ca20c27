//! Who may ask: the one kind of caller that the operator lets in.

use super::oidc;
use super::platform_sign_in::PlatformSignIn;
use super::settings::SettingsReader;
use crate::domain::callers::bearer::TokenPolicy;
use crate::domain::callers::caller::CallerRules;

const CALLER_AUTH: &str = "ROOMKEY_CALLER_AUTH";

/// How callers are told apart.
#[derive(Debug)]
pub enum CallerAuth {
    /// Anyone who can reach the service, by address.
    Anonymous,
    /// Whoever has a token of the identity provider.
    Oidc(TokenPolicy),
    /// Whoever Azure says has signed in.
    EasyAuth(CallerRules),
}

enum Kind {
    Anonymous,
    Oidc,
    EasyAuth,
}

/// Returns the setting that says that callers are authenticated, which only a deployment does.
#[must_use]
pub fn authenticated_by(reader: &SettingsReader<'_>) -> Option<&'static str> {
    let is_anonymous = reader.raw(CALLER_AUTH) == Some("anonymous");
    (reader.holds(CALLER_AUTH) && !is_anonymous)
        .then_some(CALLER_AUTH)
        .or_else(|| oidc::first_set(reader))
}

/// Reads the setting and those that belong to it. `None` means that a fault was noted.
pub fn read(
    reader: &mut SettingsReader<'_>,
    dev_mode: bool,
    sign_in: PlatformSignIn,
) -> Option<CallerAuth> {
    if !reader.holds(CALLER_AUTH) && !dev_mode {
        reader.fault(
            CALLER_AUTH,
            "must be set outside dev mode: oidc lets in whom your identity provider vouches for; easy-auth whom Azure signed in; anonymous \
             anyone who can reach the service",
        );
        return None;
    }
    let kind = reader.parsed_or(CALLER_AUTH, Kind::Anonymous, |text| match text {
        "anonymous" => Ok(Kind::Anonymous),
        "oidc" => Ok(Kind::Oidc),
        "easy-auth" => Ok(Kind::EasyAuth),
        _ => Err("must be oidc, easy-auth or anonymous".into()),
    })?;
    match kind {
        Kind::Anonymous => {
            oidc::refuse_unused(reader, false);
            Some(CallerAuth::Anonymous)
        }
        Kind::Oidc => oidc::read(reader).map(CallerAuth::Oidc),
        Kind::EasyAuth => {
            oidc::refuse_unused(reader, true);
            if !sign_in.is_on {
                reader.fault(
                    CALLER_AUTH,
                    "cannot be easy-auth here: only in Azure, with its built-in sign-in switched on (WEBSITE_AUTH_ENABLED, and platform.enabled \
                     in WEBSITE_AUTH_V2_CONFIG_JSON), are forged headers taken away",
                );
            }
            for claim in [oidc::ROOMS_CLAIM, oidc::ROLES_CLAIM] {
                if sign_in.is_static_web_apps_only && reader.holds(claim) {
                    reader.fault(
                        claim,
                        "names a claim, and Static Web Apps, through which callers sign in here, hands on none; unset it. The roles that Static Web \
                         Apps gives count as roles",
                    );
                }
            }
            oidc::rules(reader).map(CallerAuth::EasyAuth)
        }
    }
}
