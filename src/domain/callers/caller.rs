//! Who asks, and what that caller may do: the identity, the rooms, the operator's role.
//!
//! A [`Caller`] exists only where a token or the platform vouched for one, or where the operator
//! lets anyone ask. Its name is personal data: it is hashed with a key before it reaches a log or a
//! counter, and `Debug` does not show it.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

use crate::domain::livekit::names::{ParticipantIdentity, RoomName};

/// Beginnings of identities that roomkey (`u-`, `guest-`) and LiveKit (agents, egress, callers by
/// telephone) give out themselves; no claim may bring one.
const RESERVED: [&str; 5] = ["u-", "guest-", "agent-", "EG_", "sip_"];

/// What the operator wants of signed-in callers, however they signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerRules {
    /// A scope or role without which no token is issued.
    pub required_scope: Option<String>,
    /// The role that opens the operator routes.
    pub admin_role: String,
    /// The claim whose value is the identity.
    pub identity_claim: String,
    /// The claim that lists the rooms; without it a caller may enter any.
    pub rooms_claim: Option<String>,
    /// One more claim that lists roles, by its name or its dotted path.
    pub roles_claim: Option<String>,
}

/// What is known of a caller once a token or the platform vouched for it.
pub(super) struct CallerClaims<'a> {
    /// Who vouches.
    pub issuer: &'a str,
    /// Who the caller is, to that issuer.
    pub subject: &'a str,
    /// The value of the identity claim, where it may be shown as it is: only while one issuer and
    /// tenant are accepted, since two could give the same value to different people.
    pub identity: Option<&'a str>,
    /// The texts of the rooms claim; `None` where it is missing or of another type.
    pub rooms: Option<Vec<&'a str>>,
    /// Scopes, one word each.
    pub scopes: Vec<&'a str>,
    /// Roles.
    pub roles: Vec<&'a str>,
}

/// Who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Caller {
    name: Box<[u8]>,
    /// `None`: anyone may ask.
    rights: Option<Rights>,
}

#[derive(Clone, PartialEq, Eq)]
struct Rights {
    identity: ParticipantIdentity,
    /// `None`: any room.
    rooms: Option<Box<[Box<str>]>>,
    has_scope: bool,
    is_admin: bool,
}

/// A caller who is known may not do this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// The required scope or role is missing.
    Scope,
    /// The identity belongs to someone else.
    Identity,
    /// The room is not one of the caller's.
    Room,
}

impl Caller {
    /// A caller whom nobody vouches for, where the operator lets anyone ask. `name` stands for the
    /// client's address.
    #[must_use]
    pub fn anonymous(name: Vec<u8>) -> Self {
        Self {
            name: name.into(),
            rights: None,
        }
    }

    /// A caller whom an issuer vouches for.
    pub(super) fn signed_in(facts: &CallerClaims<'_>, rules: &CallerRules) -> Self {
        let has = |wanted: &str, words: &[&str]| words.contains(&wanted);
        let rights = Rights {
            identity: identity(facts),
            rooms: rules.rooms_claim.as_ref().map(|_| {
                facts
                    .rooms
                    .iter()
                    .flatten()
                    .filter(|listed| admits_any(listed))
                    .map(|listed| (*listed).into())
                    .collect()
            }),
            has_scope: rules
                .required_scope
                .as_ref()
                .is_none_or(|scope| has(scope, &facts.scopes) || has(scope, &facts.roles)),
            is_admin: has(&rules.admin_role, &facts.roles),
        };
        Self {
            name: named(facts).into(),
            rights: Some(rights),
        }
    }

    /// Names this caller and no other: issuer, 0x00 and subject, or what an anonymous one was made
    /// with. Meant for a keyed hash; never for a log or a store.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether the operator routes are open to the caller.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.rights.as_ref().is_some_and(|rights| rights.is_admin)
    }

    /// Decides over one request, and says under which identity it goes on: a signed-in caller's
    /// own, an anonymous one's wish. A request without a room is for callers who may enter some
    /// room, whichever: to list none is how an operator shuts a caller out.
    ///
    /// # Errors
    /// The first that applies of [`Forbidden::Scope`], [`Forbidden::Identity`] and
    /// [`Forbidden::Room`].
    pub fn authorize(
        &self,
        wanted: Option<ParticipantIdentity>,
        room: Option<&RoomName>,
    ) -> Result<Option<ParticipantIdentity>, Forbidden> {
        let Some(rights) = &self.rights else {
            return Ok(wanted);
        };
        if !rights.has_scope {
            return Err(Forbidden::Scope);
        }
        if wanted.is_some_and(|wanted| wanted != rights.identity) {
            return Err(Forbidden::Identity);
        }
        if !room.map_or_else(|| rights.has_room(), |room| rights.admits(room)) {
            return Err(Forbidden::Room);
        }
        Ok(Some(rights.identity.clone()))
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.rights.is_some() {
            "Caller(signed in)"
        } else {
            "Caller(anonymous)"
        })
    }
}

impl Rights {
    /// A listed `name` is that room, `prefix*` every room that begins so, `*` every room. A star
    /// elsewhere stands for itself, and no room name holds one.
    fn admits(&self, room: &RoomName) -> bool {
        let matches = |listed: &str| match listed.strip_suffix('*') {
            Some(prefix) => room.as_str().starts_with(prefix),
            None => room.as_str() == listed,
        };
        self.rooms
            .as_ref()
            .is_none_or(|rooms| rooms.iter().any(|listed| matches(listed)))
    }

    fn has_room(&self) -> bool {
        self.rooms.as_ref().is_none_or(|rooms| !rooms.is_empty())
    }
}

/// Whether what a claim lists is, or begins, the name of a room.
fn admits_any(listed: &str) -> bool {
    listed == "*" || RoomName::parse(listed.strip_suffix('*').unwrap_or(listed)).is_ok()
}

/// Invariant: two callers never share an identity, as long as the issuer never gives the identity
/// claim's value twice, which holds for `sub`. A shown value comes from the one accepted issuer; a
/// derived one is the digest of issuer and subject, and no shown value can look like it.
fn identity(facts: &CallerClaims<'_>) -> ParticipantIdentity {
    let shown = facts
        .identity
        .filter(|value| !RESERVED.iter().any(|reserved| value.starts_with(reserved)));
    shown
        .and_then(|value| ParticipantIdentity::parse(value).ok())
        .unwrap_or_else(|| ParticipantIdentity::derived(digest(&SHA256, &named(facts)).as_ref()))
}

/// Unambiguous, because an issuer is an address and holds no 0x00.
fn named(facts: &CallerClaims<'_>) -> Vec<u8> {
    [facts.issuer.as_bytes(), &[0], facts.subject.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ISSUER: &str = "https://id.example";

    fn rules() -> CallerRules {
        CallerRules {
            required_scope: None,
            admin_role: "Roomkey.Admin".into(),
            identity_claim: "sub".into(),
            rooms_claim: None,
            roles_claim: None,
        }
    }

    fn facts(subject: &str) -> CallerClaims<'_> {
        CallerClaims {
            issuer: ISSUER,
            subject,
            identity: Some(subject),
            rooms: None,
            scopes: Vec::new(),
            roles: Vec::new(),
        }
    }

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).unwrap()
    }

    fn identity_of(facts: &CallerClaims<'_>) -> String {
        Caller::signed_in(facts, &rules())
            .authorize(None, None)
            .unwrap()
            .unwrap()
            .as_str()
            .to_owned()
    }

    #[test]
    fn an_identity_of_another_is_refused() {
        let alice = Caller::signed_in(&facts("alice"), &rules());
        let wanted = |text| alice.authorize(Some(ParticipantIdentity::parse(text).unwrap()), None);
        for other in ["bob", "Alice", "alice-", "guest-aaaaaaaaaaaa"] {
            assert_eq!(wanted(other), Err(Forbidden::Identity), "{other}");
        }
        assert_eq!(wanted("alice"), alice.authorize(None, None));
    }

    #[test]
    fn a_subject_that_could_pass_for_an_identity_of_ours_is_hashed() {
        for subject in [
            "u-",
            "u-aaaaaaaaaaaaaaaaaaaaaaaaaa",
            "guest-",
            "guest-abc",
            "agent-",
            "agent-AJ_x",
            "EG_abc",
            "sip_+491",
            "sip_x",
            "auth0|1",
            "a@b",
            "a:b",
            "ä",
            &"a".repeat(129),
            "a b",
            "a\n",
        ] {
            let identity = identity_of(&facts(subject));
            assert_eq!((identity.len(), &identity[..2]), (28, "u-"), "{subject}");
            assert_ne!(identity, subject);
        }
        for subject in [
            "alice",
            "U-1",
            "guest",
            "u",
            "1b671a64-40d5-491e-99b0-da01ff1f3341",
            &"a".repeat(128),
        ] {
            assert_eq!(identity_of(&facts(subject)), subject);
        }
    }

    #[test]
    fn the_hashed_form_is_base32_of_half_a_sha_256() {
        // Worked out apart from this code: printf 'https://id.example\0auth0|1' | sha256sum | cut
        // -c1-32 | xxd -r -p | base32
        assert_eq!(
            identity_of(&facts("auth0|1")),
            "u-v6wjsduh6vgkxnienwynept664"
        );
        assert_eq!(
            identity_of(&CallerClaims {
                identity: None,
                ..facts("auth0|1")
            }),
            identity_of(&facts("auth0|1"))
        );
    }

    #[test]
    fn issuer_and_subject_cannot_be_shifted_into_each_other() {
        let name = |issuer, subject| {
            Caller::signed_in(
                &CallerClaims {
                    issuer,
                    ..facts(subject)
                },
                &rules(),
            )
            .name()
            .to_vec()
        };
        assert_ne!(
            name("https://a.example/b", "c"),
            name("https://a.example/", "bc")
        );
        assert_eq!(name("https://a.example", "b"), b"https://a.example\0b");
    }

    #[test]
    fn rooms_are_closed_where_the_claim_is_missing() {
        let rules = CallerRules {
            rooms_claim: Some("rooms".into()),
            ..rules()
        };
        for (rooms, name, admitted) in [
            (None, "standup", false),
            (Some(vec![]), "standup", false),
            (Some(vec![""]), "standup", false),
            (Some(vec!["stand"]), "standup", false),
            (Some(vec!["Standup"]), "standup", false),
            (Some(vec!["standup-1"]), "standup", false),
            (Some(vec!["team-*"]), "team", false),
            (Some(vec!["team-*"]), "other-team-1", false),
            (Some(vec!["*up"]), "standup", false),
            (Some(vec!["st*up"]), "standup", false),
            (Some(vec!["**"]), "standup", false),
            (Some(vec!["standup "]), "standup", false),
            (Some(vec!["a", "standup"]), "standup", true),
            (Some(vec!["team-*"]), "team-", true),
            (Some(vec!["team-*"]), "team-1", true),
            (Some(vec!["*"]), "standup", true),
        ] {
            let caller = Caller::signed_in(
                &CallerClaims {
                    rooms: rooms.clone(),
                    ..facts("alice")
                },
                &rules,
            );
            assert_eq!(
                caller.authorize(None, Some(&room(name))).is_ok(),
                admitted,
                "{rooms:?} {name}"
            );
        }
        assert!(
            Caller::signed_in(&facts("alice"), &super::tests::rules())
                .authorize(None, Some(&room("any")))
                .is_ok()
        );
    }

    #[test]
    fn who_may_enter_no_room_may_not_leave_it_out_either() {
        let rules = CallerRules {
            rooms_claim: Some("rooms".into()),
            ..rules()
        };
        for (rooms, admitted) in [
            (None, false),
            (Some(vec![]), false),
            (
                Some(vec!["", "a b", "st*up", "**", "*up", "standup "]),
                false,
            ),
            (Some(vec!["", "standup"]), true),
            (Some(vec!["team-*"]), true),
            (Some(vec!["*"]), true),
        ] {
            let caller = Caller::signed_in(
                &CallerClaims {
                    rooms: rooms.clone(),
                    ..facts("alice")
                },
                &rules,
            );
            assert_eq!(
                caller.authorize(None, None).err(),
                (!admitted).then_some(Forbidden::Room),
                "{rooms:?}"
            );
        }
        assert!(
            Caller::signed_in(&facts("alice"), &super::tests::rules())
                .authorize(None, None)
                .is_ok()
        );
    }

    #[test]
    fn the_required_scope_may_be_a_scope_or_a_role() {
        let rules = CallerRules {
            required_scope: Some("rooms.join".into()),
            ..rules()
        };
        for (scopes, roles, enough) in [
            (vec![], vec![], false),
            (vec!["rooms"], vec!["join"], false),
            (vec!["rooms.join.more"], vec!["Rooms.Join"], false),
            (vec!["openid", "rooms.join"], vec![], true),
            (vec![], vec!["rooms.join"], true),
        ] {
            let caller = Caller::signed_in(
                &CallerClaims {
                    scopes: scopes.clone(),
                    roles: roles.clone(),
                    ..facts("alice")
                },
                &rules,
            );
            let decided = caller.authorize(None, None);
            assert_eq!(
                decided.err(),
                (!enough).then_some(Forbidden::Scope),
                "{scopes:?} {roles:?}"
            );
        }
    }

    #[test]
    fn refusals_come_in_the_order_scope_identity_room() {
        let bob = || Some(ParticipantIdentity::parse("bob").unwrap());
        let rules = CallerRules {
            rooms_claim: Some("rooms".into()),
            required_scope: Some("s".into()),
            ..rules()
        };
        let without_scope = Caller::signed_in(&facts("alice"), &rules);
        let with_scope = Caller::signed_in(
            &CallerClaims {
                scopes: vec!["s"],
                ..facts("alice")
            },
            &rules,
        );
        assert_eq!(
            without_scope.authorize(bob(), Some(&room("r"))),
            Err(Forbidden::Scope)
        );
        assert_eq!(
            with_scope.authorize(bob(), Some(&room("r"))),
            Err(Forbidden::Identity)
        );
        assert_eq!(
            with_scope.authorize(None, Some(&room("r"))),
            Err(Forbidden::Room)
        );
    }

    #[test]
    fn only_the_role_makes_an_operator() {
        let admin = |scopes, roles| {
            Caller::signed_in(
                &CallerClaims {
                    scopes,
                    roles,
                    ..facts("alice")
                },
                &rules(),
            )
            .is_admin()
        };
        assert!(!admin(vec!["Roomkey.Admin"], vec![]));
        assert!(!admin(vec![], vec!["roomkey.admin", "Roomkey.Admin.Read"]));
        assert!(admin(vec![], vec!["x", "Roomkey.Admin"]));
        assert!(!Caller::anonymous(vec![127, 0, 0, 1]).is_admin());
    }

    #[test]
    fn an_anonymous_caller_goes_by_any_name_into_any_room() {
        let caller = Caller::anonymous(vec![127, 0, 0, 1]);
        let wanted = ParticipantIdentity::parse("bob").unwrap();
        assert_eq!(
            caller.authorize(Some(wanted.clone()), Some(&room("r"))),
            Ok(Some(wanted))
        );
        assert_eq!(caller.authorize(None, None), Ok(None));
        assert_eq!(caller.name(), [127, 0, 0, 1]);
    }

    #[test]
    fn a_caller_can_be_printed_without_personal_data() {
        let printed = format!(
            "{:?} {:?}",
            Caller::signed_in(&facts("canary"), &rules()),
            Caller::anonymous(b"canary".to_vec())
        );
        assert!(
            !printed.contains("canary") && !printed.contains("99"),
            "{printed}"
        );
    }

    proptest! {
        #[test]
        fn two_subjects_never_share_an_identity(one in "\\PC{1,40}", other in "(u-|guest-)?[a-z2-7]{1,26}") {
            prop_assume!(one != other);
            prop_assert_ne!(identity_of(&facts(&one)), identity_of(&facts(&other)));
        }
    }
}
