//! Settings that restrict what a caller may request.

use super::setting::{Setting, optional, with_default};

pub(super) const REQUESTS: &[Setting] = &[
    optional(
        "ROOMKEY_ROOM_PATTERN",
        "A regular expression that the whole room name must match, in addition to the built-in \
         rule.",
    ),
    with_default(
        "ROOMKEY_MAX_TOKEN_SECONDS",
        "86400",
        "The longest token lifetime that a caller may request, 60 to 86400 s. It also lowers the \
         default of 3600 s.",
    ),
    optional(
        "ROOMKEY_AGENTS",
        "The agents that a `room_config` may dispatch, separated by commas: `name`, or \
         `name@deployment` for one deployment. An entry without `@` allows the default deployment.",
    ),
];
