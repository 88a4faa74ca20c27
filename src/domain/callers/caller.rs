//! Callers and their permissions: the identity, the rooms, the admin role.
//!
//! A [`Caller`] exists only if a token or the platform identified it, or if the operator allows
//! anonymous callers. Its name is personal data: it is hashed with a key before it reaches a log or
//! a counter, and `Debug` does not show it.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

use crate::domain::livekit::names::{ParticipantIdentity, RoomName};
use crate::domain::vault::anonymous_projects::AnonymousProjects;
use crate::domain::vault::project_id::ProjectId;

/// The prefixes of identities that roomkey (`u-`, `guest-`) and LiveKit (agents, egress, telephone
/// callers) assign themselves. A claim's value must not have one.
const RESERVED_PREFIXES: [&str; 5] = ["u-", "guest-", "agent-", "EG_", "sip_"];

/// The operator's rules for signed-in callers, however they signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerRules {
    /// The scope or role that is required for a token.
    pub required_scope: Option<String>,
    /// The role that gives access to the operator routes.
    pub admin_role: String,
    /// The claim whose value is the identity.
    pub identity_claim: String,
    /// The claim that lists the rooms. Without it a caller may enter any room.
    pub rooms_claim: Option<String>,
    /// The claim that lists the projects. Without it a caller may use any project.
    pub projects_claim: Option<String>,
    /// One more claim that lists roles, by its name or its dotted path.
    pub roles_claim: Option<String>,
}

/// The verified claims about a caller.
pub(super) struct CallerClaims<'a> {
    /// The issuer of the claims.
    pub issuer: &'a str,
    /// The id of the caller at that issuer.
    pub subject: &'a str,
    /// The value of the identity claim, if it may be used unchanged: only if one issuer and tenant
    /// are accepted, since two could give the same value to different people.
    pub identity: Option<&'a str>,
    /// The texts of the rooms claim. `None` if it is missing or has another type.
    pub rooms: Option<Vec<&'a str>>,
    /// The texts of the projects claim. `None` if it is missing or has another type.
    pub projects: Option<Vec<&'a str>>,
    /// The scopes, one word each.
    pub scopes: Vec<&'a str>,
    /// The roles.
    pub roles: Vec<&'a str>,
}

/// The sender of a request, signed in or anonymous.
#[derive(Clone, PartialEq, Eq)]
pub struct Caller {
    name: Box<[u8]>,
    /// `None` for an anonymous caller, who may do everything.
    permissions: Option<CallerPermissions>,
}

#[derive(Clone, PartialEq, Eq)]
struct CallerPermissions {
    identity: ParticipantIdentity,
    /// The rooms and room prefixes. `None` means any room.
    rooms: Option<Box<[Box<str>]>>,
    /// The projects and project prefixes. `None` means any project.
    projects: Option<Box<[Box<str>]>>,
    has_scope: bool,
    is_admin: bool,
}

/// The reason why an identified caller is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// The required scope or role is missing.
    #[error("the caller lacks the required scope or role")]
    Scope,
    /// The requested identity is not the caller's.
    #[error("the identity is not the caller's")]
    Identity,
    /// The room is not one of the caller's.
    #[error("the room is not one of the caller's")]
    Room,
}

impl Caller {
    /// Creates an anonymous caller, for an operator who allows them. `name` stands for the client's
    /// address.
    #[must_use]
    pub fn anonymous(name: Vec<u8>) -> Self {
        Self {
            name: name.into(),
            permissions: None,
        }
    }

    /// Creates a signed-in caller from verified claims.
    pub(super) fn signed_in(claims: &CallerClaims<'_>, rules: &CallerRules) -> Self {
        let has_role = |role: &str| claims.roles.contains(&role);
        let has_scope = |scope: &str| claims.scopes.contains(&scope) || has_role(scope);
        let permissions = CallerPermissions {
            identity: choose_identity(claims),
            rooms: rules.rooms_claim.as_ref().map(|_| {
                claims
                    .rooms
                    .iter()
                    .flatten()
                    .filter(|listed| matches_any_room(listed))
                    .map(|listed| (*listed).into())
                    .collect()
            }),
            projects: rules.projects_claim.as_ref().map(|_| {
                let listed = claims.projects.iter().flatten();
                listed.map(|listed| (*listed).into()).collect()
            }),
            has_scope: rules.required_scope.as_deref().is_none_or(has_scope),
            is_admin: has_role(&rules.admin_role),
        };
        Self {
            name: unique_name(claims).into(),
            permissions: Some(permissions),
        }
    }

    /// Returns the unique name of this caller: issuer, 0x00 and subject, or the name that an
    /// anonymous one was created with. It is meant for a keyed hash, never for a log or a store.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Reports whether the caller may use the operator routes.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.permissions
            .as_ref()
            .is_some_and(|permissions| permissions.is_admin)
    }

    /// Checks the scope or role that the operator requires of signed-in callers.
    ///
    /// # Errors
    /// [`Forbidden::Scope`] where it is missing.
    pub fn require_scope(&self) -> Result<(), Forbidden> {
        match &self.permissions {
            Some(permissions) if !permissions.has_scope => Err(Forbidden::Scope),
            Some(_) | None => Ok(()),
        }
    }

    /// Reports whether the caller may use a project: a signed-in caller one that the claim lists,
    /// an anonymous one a project that the operator lists.
    #[must_use]
    pub fn may_use(&self, project_id: &ProjectId, anonymous: &AnonymousProjects) -> bool {
        match &self.permissions {
            Some(permissions) => is_listed(permissions.projects.as_deref(), project_id.as_str()),
            None => anonymous.contains(project_id),
        }
    }

    /// Authorizes one request, and returns the identity for it: a signed-in caller's own, or the
    /// one that an anonymous caller requested.
    ///
    /// A request without a room is allowed if the caller may enter at least one room: a claim that
    /// lists none is how an operator locks a caller out.
    ///
    /// # Errors
    /// The first that applies of [`Forbidden::Scope`], [`Forbidden::Identity`] and
    /// [`Forbidden::Room`].
    pub fn authorize(
        &self,
        requested: Option<ParticipantIdentity>,
        room: Option<&RoomName>,
    ) -> Result<Option<ParticipantIdentity>, Forbidden> {
        let Some(permissions) = &self.permissions else {
            return Ok(requested);
        };
        if !permissions.has_scope {
            return Err(Forbidden::Scope);
        }
        if requested.is_some_and(|requested| requested != permissions.identity) {
            return Err(Forbidden::Identity);
        }
        let may_enter = match room {
            Some(room) => permissions.may_enter(room),
            None => permissions.may_enter_some_room(),
        };
        if !may_enter {
            return Err(Forbidden::Room);
        }
        Ok(Some(permissions.identity.clone()))
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.permissions.is_some() {
            "Caller(signed in)"
        } else {
            "Caller(anonymous)"
        })
    }
}

impl CallerPermissions {
    fn may_enter(&self, room: &RoomName) -> bool {
        is_listed(self.rooms.as_deref(), room.as_str())
    }

    fn may_enter_some_room(&self) -> bool {
        self.rooms.as_ref().is_none_or(|rooms| !rooms.is_empty())
    }
}

/// Reports whether a claim lists a room or project. A listed `name` is that one, `prefix*` every
/// one with that prefix, `*` every one. A star elsewhere has no meaning, and no name contains one.
fn is_listed(list: Option<&[Box<str>]>, name: &str) -> bool {
    let matches = |listed: &str| match listed.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == listed,
    };
    list.is_none_or(|list| list.iter().any(|listed| matches(listed)))
}

/// Reports whether an entry of the rooms claim can match a room at all.
fn matches_any_room(listed: &str) -> bool {
    listed == "*" || RoomName::parse(listed.strip_suffix('*').unwrap_or(listed)).is_ok()
}

/// Returns the identity: the claim's value if it is acceptable, otherwise a hash.
///
/// Invariant: two callers never share an identity, as long as the issuer never gives the same value
/// of the identity claim twice, which holds for `sub`. An unchanged value comes from the only
/// accepted issuer; a derived one is the digest of issuer and subject, and its prefix is reserved.
fn choose_identity(claims: &CallerClaims<'_>) -> ParticipantIdentity {
    let is_reserved = |value: &str| {
        RESERVED_PREFIXES
            .iter()
            .any(|prefix| value.starts_with(prefix))
    };
    claims
        .identity
        .filter(|value| !is_reserved(value))
        .and_then(|value| ParticipantIdentity::parse(value).ok())
        .unwrap_or_else(|| {
            ParticipantIdentity::derived(digest(&SHA256, &unique_name(claims)).as_ref())
        })
}

/// Returns issuer, 0x00 and subject. It is unambiguous because an issuer contains no 0x00.
fn unique_name(claims: &CallerClaims<'_>) -> Vec<u8> {
    [claims.issuer.as_bytes(), &[0], claims.subject.as_bytes()].concat()
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
            projects_claim: None,
            roles_claim: None,
        }
    }

    fn claims(subject: &str) -> CallerClaims<'_> {
        CallerClaims {
            issuer: ISSUER,
            subject,
            identity: Some(subject),
            rooms: None,
            projects: None,
            scopes: Vec::new(),
            roles: Vec::new(),
        }
    }

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).unwrap()
    }

    fn identity_of(claims: &CallerClaims<'_>) -> String {
        Caller::signed_in(claims, &rules())
            .authorize(None, None)
            .unwrap()
            .unwrap()
            .as_str()
            .to_owned()
    }

    #[test]
    fn another_callers_identity_is_forbidden() {
        let alice = Caller::signed_in(&claims("alice"), &rules());
        let wanted = |text| alice.authorize(Some(ParticipantIdentity::parse(text).unwrap()), None);
        for other in ["bob", "Alice", "alice-", "guest-aaaaaaaaaaaa"] {
            assert_eq!(wanted(other), Err(Forbidden::Identity), "{other}");
        }
        assert_eq!(wanted("alice"), alice.authorize(None, None));
    }

    #[test]
    fn a_subject_that_is_reserved_or_not_a_name_is_hashed() {
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
            let identity = identity_of(&claims(subject));
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
            assert_eq!(identity_of(&claims(subject)), subject);
        }
    }

    #[test]
    fn the_hashed_form_is_base32_of_half_a_sha_256() {
        // Computed independently: printf 'https://id.example\0auth0|1' | sha256sum | cut -c1-32 |
        // xxd -r -p | base32
        assert_eq!(
            identity_of(&claims("auth0|1")),
            "u-v6wjsduh6vgkxnienwynept664"
        );
        assert_eq!(
            identity_of(&CallerClaims {
                identity: None,
                ..claims("auth0|1")
            }),
            identity_of(&claims("auth0|1"))
        );
    }

    #[test]
    fn issuer_and_subject_are_separated_unambiguously() {
        let name = |issuer, subject| {
            Caller::signed_in(
                &CallerClaims {
                    issuer,
                    ..claims(subject)
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
    fn without_the_rooms_claim_every_room_is_forbidden() {
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
                    ..claims("alice")
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
            Caller::signed_in(&claims("alice"), &super::tests::rules())
                .authorize(None, Some(&room("any")))
                .is_ok()
        );
    }

    #[test]
    fn a_caller_without_any_room_is_forbidden_to_omit_the_room() {
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
                    ..claims("alice")
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
            Caller::signed_in(&claims("alice"), &super::tests::rules())
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
                    ..claims("alice")
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
    fn scope_is_checked_before_identity_and_identity_before_room() {
        let bob = || Some(ParticipantIdentity::parse("bob").unwrap());
        let rules = CallerRules {
            rooms_claim: Some("rooms".into()),
            required_scope: Some("s".into()),
            ..rules()
        };
        let without_scope = Caller::signed_in(&claims("alice"), &rules);
        let with_scope = Caller::signed_in(
            &CallerClaims {
                scopes: vec!["s"],
                ..claims("alice")
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
    fn only_the_admin_role_makes_an_admin() {
        let admin = |scopes, roles| {
            Caller::signed_in(
                &CallerClaims {
                    scopes,
                    roles,
                    ..claims("alice")
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
    fn an_anonymous_caller_may_use_any_identity_and_room() {
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
            Caller::signed_in(&claims("canary"), &rules()),
            Caller::anonymous(b"canary".to_vec())
        );
        assert!(
            !printed.contains("canary") && !printed.contains("99"),
            "{printed}"
        );
    }

    proptest! {
        #[test]
        fn two_subjects_never_share_an_identity(
            one in "\\PC{1,40}",
            other in "(u-|guest-)?[a-z2-7]{1,26}",
        ) {
            prop_assume!(one != other);
            prop_assert_ne!(identity_of(&claims(&one)), identity_of(&claims(&other)));
        }
    }

    #[test]
    fn a_project_is_used_by_callers_whose_claim_lists_it() {
        let by_claim = CallerRules {
            projects_claim: Some("projects".into()),
            ..rules()
        };
        let project = ProjectId::parse("team-1").unwrap();
        let nobody = AnonymousProjects::Listed(Vec::new());
        let may_use = |listed: Option<Vec<&'static str>>, rules: &CallerRules| {
            let claims = CallerClaims {
                projects: listed,
                ..claims("alice")
            };
            Caller::signed_in(&claims, rules).may_use(&project, &nobody)
        };
        for (listed, allowed) in [
            (None, false),
            (Some(vec![]), false),
            (Some(vec!["team"]), false),
            (Some(vec!["TEAM-1"]), false),
            (Some(vec!["x", "team-1"]), true),
            (Some(vec!["team-*"]), true),
            (Some(vec!["*"]), true),
            (Some(vec!["*-1"]), false),
        ] {
            assert_eq!(may_use(listed.clone(), &by_claim), allowed, "{listed:?}");
        }
        assert!(may_use(None, &rules()), "without a claim every project");
        let anonymous = Caller::anonymous(b"192.0.2.7".to_vec());
        assert!(!anonymous.may_use(&project, &nobody));
        assert!(anonymous.may_use(&project, &AnonymousProjects::All));
        let listed = AnonymousProjects::Listed(vec![project.clone()]);
        assert!(anonymous.may_use(&project, &listed));
    }
}
