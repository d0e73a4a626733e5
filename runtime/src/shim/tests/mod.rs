//! The client side of shims against a real ttrpc server and a real hand-over socket in this process.

mod calls;
mod choice;
pub(crate) mod fixture;
