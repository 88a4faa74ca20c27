//! The simulator of the Functions host, held to what was recorded and measured at a real one. The
//! handlers are tasks of the tests, so no package is needed.

mod handler;
mod life;
mod limits;
pub mod message;
pub mod replay;
mod resend;
