#![doc = include_str!("../README.md")]

pub mod face;
pub mod remote;
pub mod uplink;
pub mod wire;
