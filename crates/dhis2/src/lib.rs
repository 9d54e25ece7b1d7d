#![doc = include_str!("../README.md")]

pub mod face;
pub mod remote;
mod rules;
pub mod uplink;
pub mod wire;
