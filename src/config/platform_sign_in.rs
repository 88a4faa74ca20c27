//! Reads the state of Azure's built-in authentication ("Easy Auth"): whether it is on, and whether
//! callers sign in through Static Web Apps.
//!
//! # Source
//! <https://learn.microsoft.com/azure/app-service/reference-app-settings#authentication--authorization>.
//! The document has the format of the platform's `authsettingsV2`, which lists providers without a
//! registration as enabled too.

use super::reader::SettingsReader;
use crate::domain::requests::json::{self, Json, Object};

/// Set by Azure where its built-in authentication is on. Only then does it remove forged headers.
const ENABLED: &str = "WEBSITE_AUTH_ENABLED";
/// Set by Azure to the configuration of its authentication, but not on every plan.
const DOCUMENT: &str = "WEBSITE_AUTH_V2_CONFIG_JSON";
/// The name of the provider that represents a linked Static Web App.
const STATIC_WEB_APPS: &str = "azureStaticWebApps";
/// The member that contains the operator's own `OpenID` Connect providers.
const CUSTOM: &str = "customOpenIdConnectProviders";

/// The state of the platform's built-in authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformSignIn {
    /// It is on, so that no client can send the headers that identify the caller.
    pub is_on: bool,
    /// Callers sign in through Static Web Apps only, which forwards no claims.
    pub is_static_web_apps_only: bool,
}

/// Reads the state. Outside Azure the variables prove nothing, so both values are false there.
#[must_use]
pub fn read(reader: &SettingsReader<'_>, in_azure: bool) -> PlatformSignIn {
    let marker = reader
        .unchecked(ENABLED)
        .is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let document = reader
        .unchecked(DOCUMENT)
        .and_then(|text| json::parse_object(text.as_bytes()).ok())
        .unwrap_or_default();
    // An app setting of this name overrides the platform's; the document shows the real state.
    let is_off = object(&document, "platform")
        .is_some_and(|platform| member(platform, "enabled") == Some(&Json::Bool(false)));
    let is_on = in_azure && marker && !is_off;
    PlatformSignIn {
        is_on,
        is_static_web_apps_only: is_on && is_static_web_apps_only(&document),
    }
}

fn is_static_web_apps_only(document: &Object<'_>) -> bool {
    let Some(providers) = object(document, "identityProviders") else {
        return false;
    };
    let has_custom = object(providers, CUSTOM).is_some_and(|custom| !custom.is_empty());
    let mut registered = providers
        .iter()
        .filter(|(_, provider)| is_registered(provider))
        .map(|(name, _)| name);
    registered
        .next()
        .is_some_and(|name| name.eq_ignore_ascii_case(STATIC_WEB_APPS))
        && registered.next().is_none()
        && !has_custom
}

/// Returns whether callers can sign in through a provider: it is not disabled, and it has a
/// registration of the app.
fn is_registered(provider: &Json<'_>) -> bool {
    let Json::Object(provider) = provider else {
        return false;
    };
    let has_id = |registration: &Object<'_>| {
        registration
            .values()
            .any(|value| matches!(value, Json::Text(text) if !text.is_empty()))
    };
    member(provider, "enabled") != Some(&Json::Bool(false))
        && object(provider, "registration").is_some_and(has_id)
}

fn object<'a, 'j>(object: &'a Object<'j>, name: &str) -> Option<&'a Object<'j>> {
    match member(object, name) {
        Some(Json::Object(inner)) => Some(inner),
        _ => None,
    }
}

/// Finds a member by its name in any case: the platform's serializers do not agree on it.
fn member<'a, 'j>(object: &'a Object<'j>, name: &str) -> Option<&'a Json<'j>> {
    object
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::Environment;

    fn state(marker: &str, document: Option<&str>, in_azure: bool) -> PlatformSignIn {
        let document = document.map(|document| (DOCUMENT, document));
        let environment: Environment = [(ENABLED, marker)].into_iter().chain(document).collect();
        let reader = SettingsReader::new(&environment);
        let read = read(&reader, in_azure);
        assert!(
            reader.into_faults().is_empty(),
            "the operator cannot correct what the platform writes"
        );
        read
    }

    #[test]
    fn the_sign_in_is_on_only_where_azure_says_so() {
        for marker in ["true", "True", "TRUE"] {
            assert!(state(marker, None, true).is_on, "{marker}");
            assert!(!state(marker, None, false).is_on, "{marker}");
        }
        for marker in ["", "false", "False", "1", "yes", " true"] {
            assert!(!state(marker, None, true).is_on, "{marker:?}");
        }
        for (document, is_on) in [
            (r#"{"platform":{"enabled":true}}"#, true),
            (r#"{"platform":{"enabled":false}}"#, false),
            (r#"{"Platform":{"Enabled":false}}"#, false),
            (r#"{"platform":{}}"#, true),
            ("{}", true),
            ("", true),
            ("{", true),
        ] {
            assert_eq!(
                state("True", Some(document), true).is_on,
                is_on,
                "{document}"
            );
        }
    }

    #[test]
    fn static_web_apps_is_recognized_by_its_registration() {
        let swa = r#""azureStaticWebApps":{"enabled":true,"registration":{"clientId":"calm-sea-1.2.azurestaticapps.net"}}"#;
        let empty = r#""facebook":{"enabled":true,"registration":{}},"google":{"enabled":true,"registration":{"clientId":null}},"legacy":null"#;
        let entra = r#""azureActiveDirectory":{"enabled":true,"registration":{"clientId":"11111111-2222-3333-4444-555555555555"}}"#;
        for (providers, only) in [
            (swa.to_owned(), true),
            (format!("{empty},{swa}"), true),
            (
                format!("{swa},{}", entra.replacen("true", "false", 1)),
                true,
            ),
            (
                format!(r#"{swa},"customOpenIdConnectProviders":{{}}"#),
                true,
            ),
            (format!("{swa},{entra}"), false),
            (
                format!(r#"{swa},"customOpenIdConnectProviders":{{"mine":{{}}}}"#),
                false,
            ),
            (swa.replacen("true", "false", 1), false),
            (
                r#""azureStaticWebApps":{"enabled":true,"registration":{}}"#.to_owned(),
                false,
            ),
            (entra.to_owned(), false),
            (empty.to_owned(), false),
        ] {
            let document = format!(
                r#"{{"platform":{{"enabled":true}},"globalValidation":{{"unauthenticatedClientAction":1}},"identityProviders":{{{providers}}}}}"#
            );
            assert_eq!(
                state("True", Some(&document), true).is_static_web_apps_only,
                only,
                "{providers}"
            );
            assert!(
                !state("False", Some(&document), true).is_static_web_apps_only
                    && !state("True", Some(&document), false).is_static_web_apps_only
            );
        }
    }
}
