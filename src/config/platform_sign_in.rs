//! What Azure's platform says of its built-in sign-in ("Easy Auth"): whether it is on, and whether
//! Static Web Apps is in front.
//!
//! Source:
//! <https://learn.microsoft.com/azure/app-service/reference-app-settings#authentication--authorization>.
//! The document has the form of the platform's `authsettingsV2`, in which providers without a
//! registration are listed as enabled too.

use super::settings::SettingsReader;
use crate::domain::requests::json::{self, Json, Object};

/// Set by Azure where its built-in sign-in is on. Only then does it take forged headers away.
const ENABLED: &str = "WEBSITE_AUTH_ENABLED";
/// Set by Azure to the sign-in's settings; not on every plan.
const DOCUMENT: &str = "WEBSITE_AUTH_V2_CONFIG_JSON";
/// The name of the provider that stands for a linked Static Web App.
const STATIC_WEB_APPS: &str = "azureStaticWebApps";
/// The member that holds the providers of the operator's own.
const CUSTOM: &str = "customOpenIdConnectProviders";

/// The platform's built-in sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformSignIn {
    /// It is on, so that nobody outside can send the headers in which it says who asks.
    pub is_on: bool,
    /// Static Web Apps is the only one through whom callers sign in, which hands on no claims.
    pub is_static_web_apps_only: bool,
}

/// Reads what the platform says. Outside Azure anyone could have set these variables, so nothing
/// counts there.
#[must_use]
pub fn read(reader: &SettingsReader<'_>, in_azure: bool) -> PlatformSignIn {
    let marker = reader
        .raw(ENABLED)
        .is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let document = reader
        .raw(DOCUMENT)
        .and_then(|text| json::parse_object(text.as_bytes()).ok())
        .unwrap_or_default();
    // An app setting of the marker's name wins over the platform's own; the document shows whether
    // it is true.
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

/// Whether callers can sign in through a provider: it is not switched off, and knows the app by
/// some id.
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

/// The platform's serializers do not agree on the case of names.
fn member<'a, 'j>(object: &'a Object<'j>, name: &str) -> Option<&'a Json<'j>> {
    object
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Environment;

    fn of(marker: &str, document: Option<&str>, in_azure: bool) -> PlatformSignIn {
        let document = document.map(|document| (DOCUMENT, document));
        let environment: Environment = [(ENABLED, marker)].into_iter().chain(document).collect();
        let reader = SettingsReader::new(&environment);
        let read = read(&reader, in_azure);
        assert!(
            reader.into_faults().is_empty(),
            "the operator cannot mend what the platform writes"
        );
        read
    }

    #[test]
    fn the_sign_in_is_on_where_azure_says_so_and_nowhere_else() {
        for marker in ["true", "True", "TRUE"] {
            assert!(of(marker, None, true).is_on, "{marker}");
            assert!(!of(marker, None, false).is_on, "{marker}");
        }
        for marker in ["", "false", "False", "1", "yes", " true"] {
            assert!(!of(marker, None, true).is_on, "{marker:?}");
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
            assert_eq!(of("True", Some(document), true).is_on, is_on, "{document}");
        }
    }

    #[test]
    fn static_web_apps_is_told_by_its_registration() {
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
                of("True", Some(&document), true).is_static_web_apps_only,
                only,
                "{providers}"
            );
            assert!(
                !of("False", Some(&document), true).is_static_web_apps_only
                    && !of("True", Some(&document), false).is_static_web_apps_only
            );
        }
    }
}
