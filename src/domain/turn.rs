//! TURN credentials: which servers relay a browser's media, and what opens them for one caller for
//! a while. The long-lived keys behind them never leave the server.
//!
//! # Source
//! RFC 8656 (TURN), RFC 7064 and RFC 7065 (URLs), and `RTCIceServer` of WebRTC.

pub mod cloudflare;
pub mod credential;
pub mod ice_server;
pub mod ice_url;
pub mod lifetime;
