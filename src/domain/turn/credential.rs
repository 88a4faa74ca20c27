//! Credentials of a TURN server of the operator's own, which shares a secret with this service.
//!
//! # Source
//! coturn's `use-auth-secret` (README.turnserver) and draft-uberti-behave-turn-rest-00 §2.2: the
//! username is the expiry and a name, the password base64(HMAC-SHA1(secret, username)).

use std::fmt;

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use secrecy::{ExposeSecret, SecretString};

use super::ice_server::TurnCredential;
use crate::domain::callers::caller_hash::CallerHash;

/// The secret that a TURN server shares with this service (`static-auth-secret` of coturn).
///
/// SHA-1 is the server's choice. As a MAC it is still unbroken (RFC 6194 §3.3).
///
/// ```
/// use roomkey::domain::callers::caller_hash::HashKey;
/// use roomkey::domain::turn::credential::TurnSecret;
/// use secrecy::SecretString;
///
/// let secret = TurnSecret::from(SecretString::from("a-throw-away-turn-secret-of-32-bytes"));
/// let caller = HashKey::new(b"a-throw-away-hash-key-of-32-bytes").hash("caller", b"alice");
/// let credential = secret.credential(1_700_003_600, caller);
/// assert!(credential.username.starts_with("1700003600:"));
/// ```
pub struct TurnSecret(hmac::Key);

impl TurnSecret {
    /// Returns what opens the server until `expires_at`, in whole seconds since 1970. The server
    /// refuses new allocations from then on; one that is in use stays.
    #[must_use]
    pub fn credential(&self, expires_at: u64, caller: CallerHash) -> TurnCredential {
        // The hash has no colon, which would end the name.
        let username = format!("{expires_at}:{caller}");
        let tag = hmac::sign(&self.0, username.as_bytes());
        TurnCredential {
            credential: BASE64.encode(tag.as_ref()).into(),
            username,
        }
    }
}

impl From<SecretString> for TurnSecret {
    fn from(secret: SecretString) -> Self {
        Self(hmac::Key::new(
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            secret.expose_secret().as_bytes(),
        ))
    }
}

impl fmt::Debug for TurnSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TurnSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::callers::caller_hash::HashKey;

    const SECRET: &str = "canary-turn-secret-of-at-least-32-bytes";
    const KEY: &[u8] = b"a-throw-away-hash-key-of-32-bytes";

    fn password(credential: &TurnCredential) -> String {
        let text = serde_json::to_value(credential).unwrap();
        text["credential"].as_str().unwrap().to_owned()
    }

    fn made(secret: &str, expires_at: u64, caller: &[u8]) -> (String, String) {
        let caller = HashKey::new(KEY).hash("caller", caller);
        let credential =
            TurnSecret::from(SecretString::from(secret)).credential(expires_at, caller);
        (credential.username.clone(), password(&credential))
    }

    /// Computed with Python: `h = hmac.new(KEY, b"caller\0" + name, "sha256").hexdigest()[:32]`,
    /// `user = f"{expiry}:{h}"`, `base64.b64encode(hmac.new(SECRET, user.encode(),
    /// "sha1").digest())`.
    #[test]
    fn the_credential_is_the_one_that_coturn_computes() {
        for (secret, expires_at, caller, username, password) in [
            (
                SECRET,
                1_700_003_600,
                "alice",
                "1700003600:ac90fea4598973dbacf2a787a77f8700",
                "UPNBtpy2Ew2v/Dj4a1vPh5FuFE8=",
            ),
            (
                SECRET,
                1_700_003_600,
                "bob",
                "1700003600:ecdcf52021d34d2744c27f1ece4f5087",
                "2BaCvUr2kjXy/uPcU9I67gnoGPg=",
            ),
            (
                &"x".repeat(100),
                253_402_300_799,
                "https://login.example\u{0}alice",
                "253402300799:1533aaa7ba7b37a70491893137d75ab8",
                "8l4UqRnVq3TSdpyPKuFhRrOzhFA=",
            ),
        ] {
            assert_eq!(
                made(secret, expires_at, caller.as_bytes()),
                (username.to_owned(), password.to_owned())
            );
        }
    }

    #[test]
    fn the_secret_is_never_printed() {
        assert_eq!(
            format!("{:?}", TurnSecret::from(SecretString::from(SECRET))),
            "TurnSecret(..)"
        );
        let caller = HashKey::new(KEY).hash("caller", b"alice");
        let credential = TurnSecret::from(SecretString::from(SECRET)).credential(7, caller);
        assert!(!format!("{credential:?}").contains(&password(&credential)));
    }

    proptest! {
        #[test]
        fn another_secret_expiry_or_caller_gives_another_credential(
            a in ("[a-z]{1,40}", any::<u32>(), "[a-z]{0,9}"), b in ("[a-z]{1,40}", any::<u32>(), "[a-z]{0,9}")
        ) {
            let [first, second] = [&a, &b].map(|(secret, at, caller)| made(secret, u64::from(*at), caller.as_bytes()));
            prop_assert_eq!(a == b, first == second);
            prop_assert_eq!(first.0.matches(':').count(), 1);
            prop_assert_eq!(BASE64.decode(first.1.as_bytes()).unwrap().len(), 20);
        }
    }
}
