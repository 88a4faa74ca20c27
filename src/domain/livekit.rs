//! LiveKit access tokens: the requests for one, its names and lifetime, and its signature.

pub mod access_token;
pub mod agents;
pub mod connection_request;
pub mod lifetime;
pub mod names;
pub mod participant_name;
pub mod token_request;
