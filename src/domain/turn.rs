//! TURN credentials: the servers that relay a browser's media, and a short-lived credential of one
//! caller for them. The long-lived keys never leave the server.
//!
//! # Source
//! RFC 8656 (TURN), RFC 7064 and RFC 7065 (URLs), and `RTCIceServer` of WebRTC.

pub mod cloudflare;
pub mod credential;
pub mod ice_server;
pub mod ice_url;
pub mod lifetime;
