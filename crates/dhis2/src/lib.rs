#![doc = include_str!("../README.md")]

pub mod face;
pub mod remote;
pub mod wire;
